"""`lapwing listen --tui` on a pseudo-terminal: what is seen, what keys do, and that the terminal is as it was in the end."""

import base64
import hashlib
import json
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from websockets.sync.server import serve

from program import Program, Server, until
from relay import Relay
from terminal import Terminal

TOPICS = ["--topic", "users=users?every=20ms", "--topic", "arrays=arrays?every=100ms&burst=5"]


@pytest.fixture
def fast():
    with Server(*TOPICS) as server:
        yield server


def test_the_picture_shows_the_feed_and_its_keys_work(fast, tmp_path):
    log = tmp_path / "feed.ndjson"
    with Terminal("listen", fast.ws(), "--name", "sensor-1", "--tui", "--log", str(log)) as terminal:
        terminal.shows("sensor-1", "● live", "0 gaps", "▸ users", "arrays", "lag 0", "block times, users", "log /")
        terminal.until(lambda: re.search(r"p50 \d+\.\d ms  p99 \d+\.\d ms", terminal.text()), "percentiles")
        terminal.until(lambda: re.search(r"\d\d:\d\d:\d\d\.\d{3}  users +\d+  \{", terminal.text()), "messages")
        terminal.until(lambda: "synced" in terminal.text(), "the file's state")
        terminal.press("t")
        terminal.shows("▸ arrays", "block times, arrays")
        terminal.press("?")
        terminal.shows("q       end, as Ctrl-C does")
        # Neither stops it nor leaves a core, and an arrow is no letter.
        terminal.press("\x1a\x1c\x1b[A")
        terminal.until(lambda: "end, as Ctrl-C does" not in terminal.text(), "the keys are gone")
        terminal.press("p")
        terminal.shows("the view is paused", "paused   ")
        written, held = log.stat().st_size, shown(terminal)
        until(lambda: log.stat().st_size > written + 20_000, "the log goes on")
        assert shown(terminal) == held
        terminal.press("p")
        terminal.until(lambda: shown(terminal) > held, "it goes on")
        terminal.resize(60, 14)
        terminal.shows("● live", "└ log", "p: pause the view)")
        assert all(len(row) <= 60 for row in terminal.text().splitlines())
        terminal.resize(50, 10)
        terminal.shows("60 x 14 are needed, here are 50 x 10")
        terminal.resize(200, 50)
        terminal.shows("● live", "feed and log go on", "q quit  ? keys")
        terminal.press("q")
        assert terminal.wait() == 0, terminal.said()
        assert terminal.is_restored(), (terminal.before, terminal.after, terminal.screen.modes)
    said = terminal.said()
    assert "listened for" in said and "nothing lost: each offset once, in order" in said, said
    assert f"check it with: lapwing verify {log}" in said
    assert "connected to ws://" in said, "what was told meanwhile is told again"
    with Program("verify", str(log)) as verify:
        assert verify.wait() == 0, verify


def shown(terminal):
    """The last offset of a message on the screen."""
    offsets = re.findall(r"  users +(\d+)  \{", terminal.text())
    return int(offsets[-1])


def test_a_killed_server_is_told_and_the_picture_comes_back():
    topics = ["--topic", "users=users?every=50ms"]
    with Server(*topics) as server, Relay(server.port) as way:
        with Terminal("listen", f"ws://127.0.0.1:{way.port}", "--tui") as terminal:
            terminal.shows("● live", "block times, users")
            terminal.until(lambda: "no block was timed" not in terminal.text(), "blocks")
            way.lead_to(None)
            server.send_signal(signal.SIGKILL)
            server.wait()
            terminal.shows("✕ lost for", "lost the connection", "lag -")
            terminal.until(lambda: re.search(r"lost for .*, attempt \d+ in \d+\.\d s", terminal.text()), "when it tries again")
            with Server(*topics) as another:
                way.lead_to(another.port)
                terminal.shows("● live", "1 reconnect", "back after", "× interrupted")
                terminal.send_signal(signal.SIGINT)
                assert terminal.wait() == 0
        assert terminal.is_restored()
        said = terminal.said()
        assert said.count("lost the connection") == 1 and "new histor" in said, said


@pytest.mark.parametrize("how", ["keys", "SIGTERM"])
def test_every_end_gives_the_terminal_back(fast, how):
    with Terminal("listen", fast.ws(), "--tui") as terminal:
        terminal.shows("● live")
        # Ctrl-C on the keyboard is the terminal's own signal.
        terminal.press("\x03") if how == "keys" else terminal.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert terminal.wait() == 0
        assert time.monotonic() - began < 10
        assert terminal.is_restored()
        assert "listened for" in terminal.said()


def test_without_a_server_it_says_so_and_can_be_ended():
    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"ws://127.0.0.1:{door.getsockname()[1]}"
    with Terminal("listen", url, "--tui") as terminal:
        terminal.shows("○ no server for", "no topic yet", "trying until it comes")
        terminal.until(lambda: re.search(r"no server for .*, attempt \d+ in \d+\.\d s", terminal.text()), "when it tries again")
        terminal.press("\x03")
        assert terminal.wait() == 0
        assert terminal.is_restored()
        assert "0 messages" in terminal.said()


def test_keys_come_from_the_terminal_where_stdin_leads_elsewhere(fast):
    with Terminal("listen", fast.ws(), "--tui", stdin=subprocess.DEVNULL) as terminal:
        terminal.shows("● live")
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()


def test_a_second_ctrl_c_ends_it_at_once_and_gives_the_terminal_back():
    with Deaf() as deaf:
        with Terminal("listen", deaf.url, "--tui") as terminal:
            terminal.shows("● live")
            terminal.press("\x03")
            until(deaf.was_closed, "the close frame")
            terminal.press("\x03")
            assert terminal.wait() == 130
            assert terminal.is_restored()


class Deaf:
    """A WebSocket server that opens a stream and then reads without ever answering."""

    def __enter__(self):
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._door.getsockname()[1]}"
        self._got = b""

        def run():
            self._peer, _ = self._door.accept()
            head = b""
            while b"\r\n\r\n" not in head:
                head += self._peer.recv(4096)
            key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)[1]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            self._peer.sendall(answer + accept + b"\r\n\r\n\x81\x011")
            while data := self._peer.recv(4096):
                self._got += data

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return self

    def was_closed(self):
        return self._got[:1] == b"\x88"

    def __exit__(self, *_):
        self._peer.close()
        self._door.close()


def test_a_panic_of_the_listener_is_told_on_a_terminal_that_is_as_it_was(fast):
    with Terminal("listen", fast.ws(), "--tui", LAPWING_FAULT="panic-in-listener") as terminal:
        assert terminal.wait() == 101
        assert terminal.is_restored()
        assert "planted by LAPWING_FAULT" in terminal.said()


def test_a_panic_of_who_draws_costs_the_picture_and_not_the_feed(fast, tmp_path):
    log = tmp_path / "feed.ndjson"
    with Terminal("listen", fast.ws(), "--tui", "--log", str(log), LAPWING_FAULT="panic-in-drawer") as terminal:
        terminal.shows("● live")
        terminal.press("x")
        terminal.until(lambda: "  users" in terminal.said(), "lines of messages")
        assert "planted by LAPWING_FAULT" in terminal.said() and "connected to" in terminal.said()
        terminal.send_signal(signal.SIGINT)
        assert terminal.wait() == 0
        assert terminal.is_restored()
    assert "nothing lost: each offset once, in order" in terminal.said()


def test_a_refusal_is_told_on_a_terminal_that_is_as_it_was(fast):
    with Terminal("listen", fast.ws(), "--tui", "--topics", "missing") as terminal:
        assert terminal.wait() == 1
        assert terminal.is_restored()
        assert "error: " in terminal.said() and "missing" in terminal.said()


def test_the_feed_goes_on_while_the_terminal_stands_still(fast, tmp_path):
    log = tmp_path / "feed.ndjson"
    with Terminal("listen", fast.ws(), "--tui", "--log", str(log)) as terminal:
        terminal.shows("● live")
        terminal.press("\x13")
        written = log.stat().st_size
        until(lambda: log.stat().st_size > written + 100_000, "the log goes on")
        terminal.press("\x11")
        terminal.shows("● live")
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()
    assert "nothing lost" in terminal.said()


def test_at_the_end_no_file_waits_for_a_terminal_that_stands_still(fast, tmp_path):
    plot = tmp_path / "run.svg"
    with Terminal("listen", fast.ws(), "--tui", "--plot", str(plot)) as terminal:
        terminal.shows("● live", "block times, users")
        terminal.press("\x13")
        terminal.send_signal(signal.SIGTERM)
        until(plot.exists, "the plot is drawn")
        terminal.press("\x11")
        assert terminal.wait() == 0
        assert terminal.is_restored()


def test_no_more_than_four_pictures_a_second(fast):
    with Terminal("listen", fast.ws(), "--tui", "--for", "3s") as terminal:
        began = time.monotonic()
        terminal.shows("1 of 3 s")
        assert terminal.wait() == 0
        took = time.monotonic() - began
    # A picture is drawn from top to bottom.
    rows = [int(row) for row in re.findall(r"\x1b\[(\d+);\d+H", terminal.all)]
    pictures = 1 + sum(row < before for before, row in zip(rows, rows[1:]))
    assert 4 <= pictures <= 4 * took + 1, (pictures, took)


@pytest.mark.parametrize("symbols", ["unicode", "ascii"])
def test_nothing_hostile_reaches_the_terminal(symbols):
    name = "\x1b]0;owned\x07<script>\u202e"
    texts = ["\x1b[2J\x1b[?1049l", "\r\n\x07\u009b31m", "日本語" * 100, "e\u0301" * 200, "x" * (1 << 20)]

    def handle(client):
        client.send(json.dumps({"type": "welcome", "session": 1, "name": name, "server": "x", "topics": [],
                                "report_interval_ms": 1000, "heartbeat_ms": 10000}))
        for text in texts:
            client.send(text)
        client.send("last")
        for _ in client:
            pass

    environment = {"LANG": "C"} if symbols == "ascii" else {}
    with serve(handle, "127.0.0.1", 0, subprotocols=["lapwing.v1"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        with Terminal("listen", url, "--tui", **environment) as terminal:
            terminal.shows('"last"', "\\u{1b}]0;owned", "\\u{1b}[2J")
            if symbols == "ascii":
                terminal.shows("+ \\u{1b}]0;owned", "live ")
                assert not re.search(r"[─│┌●…█]", terminal.text())
            else:
                terminal.shows("┌ \\u{1b}]0;owned")
            terminal.press("q")
            assert terminal.wait() == 0
            assert terminal.is_restored()
        server.shutdown()


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_can_be_left_out(fast, no_color):
    with Terminal("listen", fast.ws(), "--tui", **({"NO_COLOR": "1"} if no_color else {})) as terminal:
        terminal.shows("● live")
        terminal.press("q")
        assert terminal.wait() == 0
    coloured = re.search(r"\x1b\[(1|2|3\d)m", terminal.all.split("\x1b[?1049l")[0])
    assert bool(coloured) != no_color, coloured


@pytest.mark.parametrize(
    ("size", "environment", "why"),
    [
        ((59, 30), {}, "--tui needs 60 x 14, and this window has 59 x 30"),
        ((100, 13), {}, "--tui needs 60 x 14, and this window has 100 x 13"),
        ((100, 30), {"TERM": "dumb"}, "--tui needs a terminal"),
    ],
)
def test_where_there_is_no_room_it_comes_as_lines(fast, size, environment, why):
    with Terminal("listen", fast.ws(), "--tui", "--count", "20", size=size, **environment) as terminal:
        assert terminal.wait() == 0
        assert terminal.after == terminal.before
    said = " ".join(terminal.said().split())
    assert why in said and "listened for" in said, said
    assert "\x1b[?1049h" not in terminal.all


def test_in_a_pipe_it_comes_as_lines(fast):
    with Program("listen", fast.ws(), "--tui", "--count", "5") as listen:
        assert listen.wait() == 0, listen
    assert len([line for line in listen.out if "  users" in line or "  arrays" in line]) == 5, listen
    assert listen.err_line("--tui needs a terminal; what it would show comes as lines")
    assert not any("\x1b" in line for line in listen.out + listen.err)


def test_life_goes_to_stderr_where_that_leads_elsewhere(fast, tmp_path):
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr, Terminal("listen", fast.ws(), "--tui", stderr=stderr) as terminal:
        terminal.shows("● live")
        until(lambda: "connected to" in errors.read_text(), "a line on stderr")
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()
    text = errors.read_text()
    assert "listened for" in text and "\x1b" not in text, text
