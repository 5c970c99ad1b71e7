"""Arrays as binary frames, read by NumPy and by typed arrays as PROTOCOL.md says: each number is the one of the text."""

import collections
import contextlib
import datetime
import itertools
import json
import signal

import numpy
import pytest
import websockets
from websockets.sync.client import connect

from program import DEADLINE_S, Server
from relay import Relay
from test_docs import blocks

DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
SHAPES = ["1", "10", "2x3", "3x1x2"]
PACKS = [1, 3]
WHOLE = {name: (numpy.iinfo(name).min, int(numpy.iinfo(name).max) + 1) for name in DTYPES if "int" in name}

(READ,) = (block for block in blocks("PROTOCOL.md", "python") if "frombuffer" in block)
(READ_JS,) = (block for block in blocks("PROTOCOL.md", "js") if "DataView" in block)

Message = collections.namedtuple("Message", "topic offset time array")


def topic(dtype, shape, pack):
    return f"{dtype}-{shape}-{pack}"


def matrix(every="20ms", **settings):
    """The flags of one topic for each dtype, shape and package, with every number that its dtype has."""
    for dtype, shape, pack in itertools.product(DTYPES, SHAPES, PACKS):
        low, high = WHOLE.get(dtype, (None, None))
        bounds = f"&low={low}&high={high}" if low is not None else ""
        more = "".join(f"&{key}={value}" for key, value in settings.items())
        source = f"arrays?every={every}&burst=1&dtype={dtype}&shape={shape}&pack={pack}{bounds}{more}"
        yield from ("--topic", f"{topic(dtype, shape, pack)}={source}")


def of_binary(frame):
    """A message, by the two lines of the page and by its table."""
    names = {"numpy": numpy, "frame": frame}
    exec(READ, names)
    assert frame[:4] == b"LWA\x01"
    behind = 32 + 4 * frame[6]
    micros = int.from_bytes(frame[24:32], "little", signed=True)
    time = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    return Message(
        frame[behind : behind + frame[7]].decode(),
        int.from_bytes(frame[16:24], "little"),
        time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        names["array"],
    )


def of_text(text):
    """A message, its numbers of the type that the name of its topic says."""
    message = json.loads(text)
    dtype = message["topic"].split("-")[0]
    return Message(message["topic"], message["offset"], message["time"], numpy.array(message["data"], dtype=dtype))


def receive(url, done, **options):
    """Messages by topic until `done` says so."""
    messages = collections.defaultdict(list)
    with connect(url, compression=None, max_size=None, **options) as client:
        while not done(messages):
            frame = client.recv(DEADLINE_S)
            message = of_text(frame) if isinstance(frame, str) else of_binary(frame)
            messages[message.topic].append(message)
    return messages


def each(count):
    return lambda messages: len(messages) == 80 and min(map(len, messages.values())) >= count


def check_same(ours, theirs):
    """The same array at the same place, to the last bit."""
    assert (ours.topic, ours.offset) == (theirs.topic, theirs.offset)
    assert (ours.array.dtype, ours.array.shape) == (theirs.array.dtype, theirs.array.shape), ours.topic
    assert ours.array.tobytes() == theirs.array.tobytes(), (ours, theirs)


def check_all(found, expected, count):
    assert len(found) == len(expected) == 80
    for name, messages in found.items():
        for ours, theirs in zip(messages[:count], expected[name][:count], strict=True):
            check_same(ours, theirs)
        dtype, shape, pack = name.rsplit("-", 2)
        axes = [int(length) for length in shape.split("x")]
        assert messages[0].array.shape == tuple(axes if pack == "1" else [int(pack), *axes])
        assert messages[0].array.dtype == dtype


def test_numpy_reads_what_the_server_made_whatever_its_type_and_shape():
    with Server(*matrix(), "--seed", "7") as server:
        text = receive(server.ws("?from=earliest"), each(5))
        binary = receive(server.ws("?from=earliest&encoding=binary"), each(5))
    check_all(binary, text, 5)
    assert all(ours.time == theirs.time for name in text for ours, theirs in zip(binary[name], text[name]))
    # Another server with this seed makes the same.
    with Server(*matrix(), "--seed", "7") as again:
        check_all(receive(again.ws("?from=earliest&encoding=binary"), each(5)), text, 5)


class Follower:
    """Follows every topic with `lapwing.v1`, comes back where it was, and keeps what it got."""

    def __init__(self, encoding):
        self.encoding, self.places, self.messages = encoding, {}, collections.defaultdict(list)

    def follow(self, url, count):
        with connect(url, subprotocols=["lapwing.v1"], compression=None) as client:
            names = json.loads(client.recv(DEADLINE_S))["topics"]
            for name in names:
                place = self.places.get(name, {"from": "earliest"})
                client.send(json.dumps({"type": "subscribe", "topic": name, "encoding": self.encoding, **place}))
            until = {name: self.offset(name) + count for name in names}
            while any(self.offset(name) < until[name] for name in names):
                self.take(client.recv(DEADLINE_S))
            # It goes without a word.
            client.socket.shutdown(2)

    def offset(self, name):
        return self.places.get(name, {"offset": 0})["offset"]

    def take(self, frame):
        control = json.loads(frame) if isinstance(frame, str) else {}
        if control.get("type") == "subscribed":
            assert control["answer"] == "ok", control
            assert (control.get("dtype") is not None) == (self.encoding == "binary"), control
            self.places[control["topic"]] = {"epoch": control["epoch"], "offset": control["from"]}
        elif "type" not in control:
            message = of_text(frame) if control else of_binary(frame)
            assert message.offset == self.places[message.topic]["offset"], "each offset once, in order"
            self.places[message.topic]["offset"] += 1
            self.messages[message.topic].append(message)


def test_numpy_reads_the_same_across_a_reconnect_and_a_resume_from_disk(tmp_path):
    flags = [*matrix(), "--seed", "7", "--data", str(tmp_path / "data"), "--durability", "os"]
    followers = Follower("binary"), Follower("json")
    with Server(*flags) as server, Relay(server.port) as way:
        for follower in followers:
            for _ in range(3):
                follower.follow(f"ws://127.0.0.1:{way.port}", 3)
                way.cut()
        assert server.stop() == 0
    with Server(*flags) as server:
        for follower in followers:
            follower.follow(server.ws(), 5)
        history = receive(server.ws("?from=earliest&encoding=binary"), each(10))
    check_all(followers[0].messages, followers[1].messages, 14)
    check_all(history, followers[1].messages, 10)


@contextlib.contextmanager
def numbers(dtype):
    with Server("--topic", f"{dtype}-n=push?dtype={dtype}") as server:
        text, binary = connect(server.ws()), connect(server.ws("?encoding=binary"))
        with text, binary:
            yield lambda value: (server.publish(f"{dtype}-n", value), (text.recv(DEADLINE_S), binary.recv(DEADLINE_S)))[1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_every_type_come_exactly_and_what_is_beyond_is_text(dtype):
    if dtype in WHOLE:
        low, high = WHOLE[dtype]
        good, bad = [[low, high - 1, 0, 1]], [[low - 1], [high], [1.0], [[1], [2, 3]], [], "1"]
    else:
        info = numpy.finfo(dtype)
        # As text each float of this type is written so that it is found again.
        least = [float(str(value)) for value in (info.min, info.max, info.tiny, info.smallest_subnormal, info.eps)]
        good, bad = [least, [0.0, -0.0, 1, 2.5e-3, 1e10]], [[None], [[1.5], [2.5, 3.5]], [], {"a": 1.5}]
        bad += [[3.5e38]] if dtype == "float32" else []
    with numbers(dtype) as both:
        for value in good:
            text, binary = both(value)
            assert isinstance(binary, bytes)
            check_same(of_binary(binary), of_text(text))
        for value in bad:
            text, binary = both(value)
            assert binary == text


def test_a_thousand_numbers_are_as_many_bytes_as_they_have_and_a_header():
    with Server("--topic", "n=arrays?every=10ms&burst=1&shape=1000") as server:
        with connect(server.ws("?encoding=binary")) as client:
            frame = client.recv(DEADLINE_S)
    assert len(frame) == 8000 + int.from_bytes(frame[12:16], "little")
    assert len(frame) - 8000 <= 40


def js(name, frame="frame"):
    """An expression with what the code of the page makes of a frame."""
    told = "kind, shape: Array.from(shape), elements: Array.from(elements, String), topic: String.fromCharCode(...topic)"
    topic = f"new Uint8Array({frame}, 32 + 4 * shape.length, header.getUint8(7))"
    return f"(({frame}) => {{ {READ_JS}const topic = {topic}; return {{ {told} }}; }})({name})"


@pytest.mark.needs("npm")
def test_typed_arrays_of_node_read_what_the_server_made(npm, tmp_path):
    script = tmp_path / "arrays.mjs"
    script.write_text(
        f"""import WebSocket from "ws";
const socket = new WebSocket(process.argv[2]);
socket.binaryType = "arraybuffer";
socket.on("message", (frame, isBinary) => console.log(JSON.stringify(isBinary ? {js("frame")} : frame.toString())));
"""
    )
    with Server(*matrix()) as server:
        text, found = receive(server.ws("?from=earliest"), each(3)), collections.defaultdict(list)
        with npm(script, server.ws("?from=earliest&encoding=binary")) as process:
            while not each(3)(found):
                line = json.loads(process.stdout.readline())
                found[line["topic"]].append(line)
            process.kill()
    for name, arrays in found.items():
        for line, message in zip(arrays, text[name]):
            expected = message.array
            assert (f"<{line['kind']}", tuple(line["shape"])) == (expected.dtype.newbyteorder("<").str.replace("|", "<"), expected.shape)
            number = int if expected.dtype.kind in "iu" else float
            assert [expected.dtype.type(number(element)) for element in line["elements"]] == expected.ravel().tolist()


@pytest.mark.needs("chromium")
def test_typed_arrays_of_a_browser_read_what_the_server_made(browser):
    with Server("--topic", "int64-n=arrays?every=1s&burst=5&shape=2x3&high=9223372036854775808") as server:
        with connect(server.ws("?from=earliest")) as client:
            expected = [of_text(client.recv(DEADLINE_S)).array for _ in range(5)]
        with browser.open(server.http()) as page:
            found = page.run(
                f"""new Promise((done) => {{
                    const found = [], socket = new WebSocket(`ws://${{location.host}}/?from=earliest&encoding=binary`);
                    socket.binaryType = "arraybuffer";
                    socket.onmessage = (event) => {{ found.push({js("event.data")}); if (found.length === 5) done(found); }};
                }})"""
            )
    for line, array in zip(found, expected, strict=True):
        assert (line["kind"], tuple(line["shape"])) == ("i8", array.shape)
        assert [int(number) for number in line["elements"]] == array.ravel().tolist()


def test_a_stop_closes_a_client_of_arrays_as_any_other():
    with Server("--topic", "n=arrays?every=10ms") as server, connect(server.ws("?encoding=binary")) as client:
        assert isinstance(client.recv(DEADLINE_S), bytes)
        server.send_signal(signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed) as end:
            while True:
                assert isinstance(client.recv(DEADLINE_S), bytes)
        assert end.value.rcvd.code == 1012
