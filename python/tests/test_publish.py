"""Arrays and dicts into a topic of a running server."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import lapwing
import numpy
import pytest


def received(server, topic, count):
    feed = lapwing.listen(server.url, topics=[topic], start="earliest", count=count)
    return [message.data for message in feed.messages()]


def test_what_is_published_comes_back(pushed):
    items = [{"a": [1, 2.5, None, True], "é": "ü"}, "text\nof two lines", 17, -0.5, [], None, numpy.float64(1.5), (1, 2)]
    published = lapwing.publish(pushed.url, "t", items)
    assert (published.messages, published.first, published.last) == (8, 0, 7)
    assert len(published.epoch) == 32
    assert received(pushed, "t", 8) == [*items[:6], 1.5, [1, 2]]


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"])
def test_arrays_are_the_same_in_every_dtype(serve, dtype):
    name = numpy.dtype(dtype).name
    server = serve("--topic", f"x=push?dtype={name}")
    if dtype[0] == "f":
        array = numpy.random.default_rng(1).normal(size=(7, 3, 2)).astype(dtype)
    else:
        limits = numpy.iinfo(dtype)
        array = numpy.random.default_rng(1).integers(limits.min, limits.max, (7, 3, 2), dtype, endpoint=True)
    swapped = array[3].astype(array.dtype.newbyteorder(">"))
    strided = array[::-1][2]
    lapwing.publish(server.url, "x", [*array, swapped, strided])
    blocks = list(lapwing.listen(server.url, topics=["x"], start="earliest", block=9, count=9))
    assert blocks[0].array.dtype == dtype
    assert (blocks[0].array == numpy.concatenate([array, array[3:4], array[4:5]])).all()


@pytest.mark.parametrize(
    ("item", "kind", "sentence"),
    [
        (numpy.array([1.0, numpy.nan]), ValueError, "NaN or infinity"),
        (float("inf"), ValueError, "not JSON compliant"),
        (numpy.array([True]), TypeError, "an array of bool is not published"),
        (numpy.array([1j]), TypeError, "an array of complex128"),
        (numpy.zeros(2, "f2"), TypeError, "an array of float16"),
        (numpy.zeros((2, 0)), ValueError, r"shape \(2, 0\)"),
        (numpy.array(5), ValueError, r"shape \(\)"),
        (b"bytes", TypeError, "bytes are not published"),
        ({1, 2}, TypeError, "set is nothing that JSON knows"),
        ("x" * ((1 << 20) - 1), ValueError, "item 1 has 1048577 bytes as JSON; a message may have 1048576"),
    ],
)
def test_what_cannot_be_published_is_told(pushed, item, kind, sentence):
    with pytest.raises(kind, match=sentence):
        lapwing.publish(pushed.url, "t", [1, item])


def test_the_longest_message_is_taken(pushed):
    item = "x" * ((1 << 20) - 2)
    assert lapwing.publish(pushed.url, "t", [item]).messages == 1
    assert received(pushed, "t", 1) == [item]


def test_a_topic_that_takes_nothing_is_a_refusal(serve):
    server = serve("--topic", "users=users")
    for topic, code in [("users", 409), ("no", 404)]:
        for items in ([1], itertools.count()):
            with pytest.raises(lapwing.RefusedError) as refused:
                lapwing.publish(server.url, topic, items)
            assert refused.value.code == code


def test_nobody_there_is_an_error_in_time():
    began = time.monotonic()
    with pytest.raises(lapwing.ConnectError, match="nothing was taken for 0.5 s: connection refused"):
        lapwing.publish("ws://127.0.0.1:9", "t", iter(int, 1), timeout=0.5)
    assert time.monotonic() - began < 30


def test_an_exception_of_the_items_ends_it(pushed):
    def items():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lapwing.publish(pushed.url, "t", items())


def test_an_item_does_not_wait_for_the_next(pushed):
    with lapwing.listen(pushed.url, topics=["t"]) as feed, lapwing.Publisher(pushed.url, "t") as publisher:
        publisher.send({"first": True})
        assert next(feed.messages()).data == {"first": True}
    with pytest.raises(ValueError, match="was finished"):
        publisher.send(1)


def test_it_goes_on_when_the_server_comes_back(serve, tmp_path):
    arguments = ("--data", str(tmp_path / "data"), "--topic", "t=push")
    server = serve(*arguments)
    with lapwing.Publisher(server.url, "t", timeout=None) as publisher:
        publisher.send(0)
        with lapwing.listen(server.url, topics=["t"], start="earliest") as feed:
            next(feed.messages())
        server.stop()
        threading.Timer(0.5, lambda: serve(*arguments, listen=server.address)).start()
        for n in range(1, 5000):
            publisher.send(n)
        assert publisher.finish().messages == 5000
    assert received(server, "t", 5000) == list(range(5000))


ENDLESS = """
import itertools, lapwing, sys

def items():
    print("begins", flush=True)
    yield from itertools.count()

try:
    lapwing.publish(sys.argv[1], "t", items(), timeout=None)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_works_while_nobody_takes_anything():
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, "ws://127.0.0.1:9"], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout.readline() == "begins\n"
    state = pathlib.Path(f"/proc/{process.pid}/stat")
    # Until there is no more room it makes one item after the other.
    while state.read_text().rsplit(")", 1)[1].split()[0] in "RD":
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("interrupted\n", 0)
