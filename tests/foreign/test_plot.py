"""`lapwing listen --plot`: an SVG that any reader of XML understands, with the values that were recorded."""

import itertools
import json
import re
import threading
import xml.etree.ElementTree as ElementTree

from websockets.sync.server import serve

from program import Program, Server, until
from relay import Relay

SVG = "{http://www.w3.org/2000/svg}"


class Chart:
    """A chart of a plot, read back: what its lines say, in the units of its axes."""

    def __init__(self, element):
        texts = [text for text in element.iter(f"{SVG}text")]
        y = [(float(text.get("y")) - 4, number(text.text)) for text in texts if text.get("class") == "end"]
        x = [(float(text.get("x")), number(text.text)) for text in texts if text.get("class") == "middle"]
        self._x, self._y = line_through(x), line_through(y)
        paths = [path.get("d") for path in element.iter(f"{SVG}path") if path.get("class").startswith("line ")]
        self.lines = [[self._value(point) for point in re.findall(r"([\d.]+) ([\d.]+)", path)] for path in paths]
        self.shades = [rect for rect in element.iter(f"{SVG}rect") if rect.get("class") == "shade"]
        self.shades = [self._x(float(rect.get("width"))) - self._x(0) for rect in self.shades]

    def _value(self, point):
        return self._x(float(point[0])), self._y(float(point[1]))


def number(text):
    """What is written beside an axis, times in seconds."""
    value, _, unit = text.replace(",", "").partition(" ")
    return float(value) * {"": 1, "s": 1, "ms": 0.001}[unit]


def line_through(points):
    """The linear function through the first and the last of some points."""
    (from_at, from_value), (to_at, to_value) = min(points), max(points)
    return lambda at: from_value + (at - from_at) / (to_at - from_at) * (to_value - from_value)


def charts(path):
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    return [Chart(child) for child in root if child.tag == f"{SVG}svg"]


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_points_of_a_plot_are_the_blocks_that_were_recorded(tmp_path):
    log, plot = tmp_path / "feed.ndjson", tmp_path / "run.svg"
    with Server("--topic", "users=users?every=40ms") as server:
        listen = ["listen", server.ws(), "--log", str(log), "--plot", str(plot), "--count", "62", "--quiet"]
        with Program(*listen) as listen:
            assert listen.wait() == 0, listen
            assert listen.err_line(rf"drawn: {plot}$")
    lines = records(log)
    arrived = {line["offset"]: line["mono"] / 1e9 for line in lines if "offset" in line}
    blocks = [line for line in lines if line.get("record") == "block" and not line["flags"]]
    recorded = [(arrived[block["last"]], block["elapsed_ms"] / 1000) for block in blocks]
    assert len(recorded) >= 10
    times, rates = charts(plot)
    drawn = list(itertools.chain(*times.lines))
    assert len(times.lines) == 1 and len(drawn) == len(recorded), (drawn, recorded)
    for (at, took), (recorded_at, recorded_took) in zip(drawn, recorded):
        assert abs((at - drawn[0][0]) - (recorded_at - recorded[0][0])) < 0.02, (drawn, recorded)
        assert abs(took - recorded_took) < 0.005, (drawn, recorded)
    assert all(20 <= rate <= 30 for _, rate in rates.lines[0][1:-1]), rates.lines


def test_a_plot_bridges_no_missing_time_and_is_whole_after_ctrl_c(tmp_path):
    plot = tmp_path / "run.svg"
    with Server("--topic", "users=users?every=20ms") as server, Relay(server.port) as way:
        with Program("listen", f"ws://127.0.0.1:{way.port}", "--plot", str(plot)) as listen:
            # Only of blocks that are timed a rate is told.
            timed = lambda: sum(bool(re.search(r"of users: 5 messages in .* \(", line)) for line in list(listen.err))
            until(lambda: timed() > 3, lambda: f"blocks that are timed: {listen}")
            way.lead_to(None)
            listen.err_line("lost the connection")
            listen.err_line(r"attempt \d+ in")
            way.lead_to(server.port)
            listen.err_line("back after")
            before = timed()
            # Some whole seconds, so that there is a rate.
            until(lambda: timed() > before + 30, lambda: f"blocks that are timed again: {listen}")
            assert not plot.exists(), "it is written at the end"
            assert listen.stop() == 0, listen
    times, rates = charts(plot)
    assert len(times.lines) >= 2, times.lines
    (before, _), (behind, _) = times.lines[0][-1], times.lines[1][0]
    outage = max(times.shades)
    assert outage > 0 and behind - before > outage, (times.lines, times.shades)
    assert len(rates.lines) >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.svg"]


def test_a_hostile_name_url_and_topic_stay_text_in_a_plot(tmp_path):
    plot = tmp_path / "run.svg"
    name = "</title><script>alert(1)</script>\x1b]0;owned\x07 \ufffe\uffff\u202e & \" ' ]]>"

    def handle(client):
        client.send(json.dumps({"type": "welcome", "session": 1, "name": name, "server": "x", "topics": [],
                                "report_interval_ms": 1000, "heartbeat_ms": 10000}))
        for _ in client:
            pass

    with serve(handle, "127.0.0.1", 0, subprotocols=["lapwing.v1"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/a&b'c"
        with Program("listen", url, "--plot", str(plot)) as listen:
            listen.err_line("connected to")
            assert listen.stop() == 0, listen
        server.shutdown()
    root = ElementTree.parse(plot).getroot()
    title = root.find(f"{SVG}title").text
    assert title.startswith("</title><script>alert(1)</script>\\u{1b}]0;owned\\u{7} \\u{fffe}\\u{ffff}\\u{202e} & \" ' ]]>"), title
    assert url in title
    names = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert names <= {"svg", "title", "desc", "style", "rect", "text", "path", "circle"}, names
    assert not any(key.startswith("on") or "href" in key for element in root.iter() for key in element.keys())
    style = root.find(f"{SVG}style").text
    assert "url(" not in style and "@import" not in style and "var(" not in style
    assert "no block of 5 messages was timed" in "".join(root.itertext())
