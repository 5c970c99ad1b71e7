"""Blocks and messages for loops."""

import datetime
import os
import signal
import subprocess
import sys
import threading
import time

import lapwing
import numpy
import pytest


def test_blocks_are_arrays_with_their_times(serve):
    server = serve("--topic", "arrays=arrays?every=20ms&burst=5&shape=3,4&dtype=int16")
    with lapwing.listen(server.url, topics=["arrays"], block=5) as feed:
        first, second = next(feed), next(feed)
    for block in (first, second):
        assert block.topic == "arrays"
        assert block.array.dtype == numpy.int16
        assert block.array.shape == (len(block), 3, 4)
        assert block.offsets.tolist() == list(range(block.first, block.last + 1))
        assert block.times.dtype == numpy.dtype("datetime64[ns]") and (numpy.diff(block.times) >= 0).all()
        assert (block.received >= block.times - numpy.timedelta64(1, "s")).all()
    assert first.elapsed is None and "first" in first.flags
    assert second.elapsed > 0 and second.spread >= 0
    assert (second.number, second.first, second.last) == (first.number + 1, first.last + 1, first.last + 5)
    assert "number" not in second.flags and second.bytes > 5 * 24


def test_numbers_come_as_they_were_published(pushed):
    values = [[2**63 - 1, -(2**63)], [1, 0], [3, -4]]
    with lapwing.listen(pushed.url, topics=["a"], block=3) as feed:
        pushed.post("a", *values)
        block = next(feed)
    assert block.array.dtype == numpy.int64
    assert block.array.tolist() == values
    assert block.array is block.array
    assert numpy.shares_memory(block[1].array, block.array)


def test_floats_have_the_dtype_of_their_topic(pushed):
    with lapwing.listen(pushed.url, topics=["f"], block=1) as feed:
        pushed.post("f", [0.1, -2.5e-3])
        array = next(feed).array
    assert array.dtype == numpy.float32
    assert (array == numpy.array([[0.1, -2.5e-3]], numpy.float32)).all()


def test_messages_come_before_their_block_is_full(pushed):
    with lapwing.listen(pushed.url, topics=["t", "a"], block=1000) as feed:
        messages = feed.messages()
        began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
        for said in ({"a": [1, None], "b": "é"}, "text", 17, [1.5, 2.5], [], None, 2**70):
            answer = pushed.post("t", said)
            message = next(messages)
            assert (message.topic, message.offset, message.epoch) == ("t", answer["first"], answer["epoch"])
            assert message.data == said
            assert began < message.time <= message.received + datetime.timedelta(seconds=1)
            assert message.time.tzinfo is datetime.timezone.utc
        pushed.post("a", [1, 2])
        assert next(messages).data.tolist() == [1, 2]


def test_bytes_stay_bytes(pushed):
    with lapwing.listen(pushed.url, topics=["t"]) as feed:
        import urllib.request

        url = f"http://{pushed.address}/topics/t/messages"
        headers = {"Content-Type": "application/octet-stream"}
        urllib.request.urlopen(urllib.request.Request(url, b"\x00\xff\n", headers), timeout=30).close()
        assert next(feed.messages()).data == b"\x00\xff\n"


def test_lists_of_other_topics_are_arrays_too(pushed):
    with lapwing.listen(pushed.url, topics=["t"], block=2) as feed:
        for values, dtype in [([[1, 2], [3, 4]], "i8"), ([1, 2.5], "f8"), ([2**63, 1], "u8"), ([[[1.5]], [[2]]], "f8")]:
            pushed.post("t", *values)
            array = next(feed).array
            assert array.dtype == dtype and array.tolist() == values


def test_a_large_block_of_json_is_what_each_of_its_messages_is(pushed):
    # More than is read at once, with what would end a text that was put together badly.
    values = [{"n": n, "said": "],[" * 300, "deep": [[], {}, None, [n / 4]], "more": "\\\"é鸟"} for n in range(600)]
    with lapwing.listen(pushed.url, topics=["t"], block=len(values)) as feed:
        for at in range(0, len(values), 100):
            pushed.post("t", *values[at : at + 100])
        block = next(feed)
    assert block.data == values
    assert [message.data for message in block] == values


@pytest.mark.parametrize("values", [([1], [1, 2]), ({"a": 1}, {"a": 2}), ("a", "b"), ([], []), ([1], "x")])
def test_what_is_no_array_is_told_and_its_data_are_there(pushed, values):
    with lapwing.listen(pushed.url, topics=["t"], block=2) as feed:
        pushed.post("t", *values)
        block = next(feed)
    with pytest.raises(lapwing.ShapeError, match="messages of t from offset 0 on are not numbers of one shape"):
        _ = block.array
    assert block.data == list(values)
    assert [message.data for message in block] == list(values)


def test_arrays_of_several_shapes_are_told_apart(pushed):
    with lapwing.listen(pushed.url, topics=["a"], block=4) as feed:
        pushed.post("a", [1, 2], [3, 4], [[5]], "no array")
        block = next(feed)
    assert [numpy.asarray(each).tolist() for each in block.data] == [[1, 2], [3, 4], [[5]], "no array"]
    with pytest.raises(ValueError, match="not numbers of one shape"):
        _ = block.array


def test_blocks_are_aligned_to_offsets(pushed):
    pushed.post("t", *range(7))
    with lapwing.listen(pushed.url, topics=["t"], block=5, start=3) as feed:
        cut, whole = next(feed), None
        pushed.post("t", *range(7, 10))
        whole = next(feed)
    assert cut.offsets.tolist() == [3, 4] and set(cut.flags) >= {"partial", "first", "catchup"}
    assert whole.offsets.tolist() == [5, 6, 7, 8, 9] and "partial" not in whole.flags


def test_an_end_by_count_gives_what_is_left_as_a_partial_block(pushed):
    pushed.post("t", *range(10))
    blocks = list(lapwing.listen(pushed.url, topics=["t"], block=4, start="earliest", count=6))
    assert [block.offsets.tolist() for block in blocks] == [[0, 1, 2, 3], [4, 5]]
    assert "partial" in blocks[1].flags


def test_a_feed_ends_by_time(pushed):
    began = time.monotonic()
    assert list(lapwing.listen(pushed.url, topics=["t"], time=0.3)) == []
    assert time.monotonic() - began >= 0.3


def test_it_resumes_without_loss_where_the_server_was_restarted(serve, tmp_path):
    arguments = ("--data", str(tmp_path / "data"), "--topic", "t=push")
    server = serve(*arguments)
    got = []
    with lapwing.listen(server.url, topics=["t"], block=2) as feed:
        server.post("t", 0, 1)
        got.append(next(feed))
        server.stop()
        again = serve(*arguments, listen=server.address)
        again.post("t", 2, 3, 4, 5)
        got += [next(feed), next(feed)]
        assert (feed.reconnects, feed.missed, feed.resets) == (1, 0, 0)
    assert [number for block in got for number in block.data] == list(range(6))
    assert "interrupted" in got[1].flags


def gone(server):
    """More messages than are kept."""
    for _ in range(10):
        server.post("t", *["x" * 1000] * 500)


def test_a_gap_stands_in_the_flags_and_is_counted(serve):
    server = serve("--topic", "t=push?keep_bytes=1MiB")
    first = server.post("t", 0)
    gone(server)
    with lapwing.listen(server.url, topics=["t"], start=f"@{first['epoch']}:0", block=1000) as feed:
        block = next(feed)
        assert feed.missed == block.first > 0


def test_a_gap_is_an_error_where_that_was_asked(serve):
    server = serve("--topic", "t=push?keep_bytes=1MiB")
    first = server.post("t", 0)
    gone(server)
    feed = lapwing.listen(server.url, topics=["t"], start=f"@{first['epoch']}:0", fail_on_gap=True)
    with pytest.raises(lapwing.GapError, match=r"t: offsets 0 to \d+ are missing: they are older than what the topic keeps"):
        list(feed)


def test_reports_reach_the_server(serve):
    server = serve("--topic", "arrays=arrays?every=10ms")
    with lapwing.listen(server.url, topics=["arrays"], block=5, name="python-7") as feed:
        for _ in range(3):
            next(feed)
        assert feed.name == "python-7"
    for line in server.process.stdout:
        if b"python-7" in line and b'"event":"report"' in line:
            break
    else:
        raise AssertionError("no report")


def test_nobody_there_is_an_error_in_time():
    began = time.monotonic()
    with pytest.raises(lapwing.ConnectError, match="no connection within 0.5 s: .*refused"):
        with lapwing.listen("ws://127.0.0.1:9", connect_timeout=0.5):
            pass
    assert 0.5 <= time.monotonic() - began < 20


def test_a_refusal_has_its_code(pushed):
    with pytest.raises(lapwing.RefusedError, match='the server refused topic "no"') as refused:
        with lapwing.listen(pushed.url, topics=["no"]):
            pass
    assert refused.value.code == "unknown_topic"
    with pytest.raises(lapwing.RefusedError) as refused:
        with lapwing.listen(pushed.url + "/nowhere", topics=["t"]):
            pass
    assert refused.value.code == 404
    assert isinstance(refused.value, lapwing.Error)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"block": 0}, "block=0 is out of range: 1 to 1000000"),
        ({"block": 1_000_001}, "block=1000001 is out of range: 1 to 1000000"),
        ({"start": "soon"}, 'start="soon"'),
        ({"topics": []}, "topics has 0 names"),
        ({"topics": ["t"] * 101}, "topics has 101 names"),
        ({"topics": ["a b"]}, '"a b" is no topic'),
        ({"name": ""}, 'name=""'),
        ({"count": 0}, "count=0 is out of range"),
        ({"time": -1}, "time=-1 is no time"),
        ({"connect_timeout": 0}, "connect_timeout=0 is no time"),
        ({"url": "http//x"}, ""),
        ({"ca": "x.pem", "insecure": True}, "contradict"),
    ],
)
def test_wrong_arguments_are_told_before_anything_starts(wrong, sentence):
    with pytest.raises(ValueError) as error:
        lapwing.listen(**{"url": "ws://127.0.0.1:9", **wrong})
    assert sentence in str(error.value)


def test_the_largest_block_is_taken():
    lapwing.listen("ws://127.0.0.1:9", block=1_000_000, topics=["t"] * 100).close()


def test_topics_is_no_text():
    with pytest.raises(TypeError, match=r'topics=\["t"\]'):
        lapwing.listen("ws://127.0.0.1:9", topics="t")


def test_a_feed_is_read_in_one_way(pushed):
    with lapwing.listen(pushed.url, topics=["t"], block=1) as feed:
        pushed.post("t", 1)
        next(feed)
        with pytest.raises(lapwing.Error, match="in blocks already"):
            next(feed.messages())


def test_others_run_while_it_waits(pushed):
    with lapwing.listen(pushed.url, topics=["t"], block=1) as feed:
        threading.Timer(0.3, pushed.post, ("t", 1)).start()
        turns = 0
        waiting = threading.Thread(target=next, args=(feed,))
        waiting.start()
        while waiting.is_alive():
            waiting.join(0.001)
            turns += 1
    assert turns > 20


WAITS = """
import lapwing, sys
with lapwing.listen(sys.argv[1], topics=["t"]) as feed:
    try:
        print("ready", flush=True)
        next(feed)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""

LEFT_OPEN = """
import lapwing, sys
feed = lapwing.listen(sys.argv[1], topics=["t"], log=sys.argv[2], block=1)
print(next(feed).data, flush=True)
"""


def python(script, *arguments):
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)


def test_ctrl_c_works_while_it_waits(pushed):
    process = python(WAITS, pushed.url)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("interrupted\n", 0)


def test_a_feed_that_is_left_open_is_ended_with_the_interpreter(pushed, tmp_path):
    log = tmp_path / "left.ndjson"
    pushed.post("t", 0)
    process = python(LEFT_OPEN.replace("block=1", 'block=1, start="earliest"'), pushed.url, os.fspath(log))
    output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("[0]\n", 0)
    assert [message.data for message in lapwing.read_log(log)] == [0]


def test_a_slow_reader_holds_the_feed_back_and_loses_nothing(serve):
    server, count = serve("--topic", "t=push?keep_bytes=256MiB"), 300_000
    with lapwing.listen(server.url, topics=["t"], block=1000, connect_timeout=None) as feed:
        published = lapwing.publish(server.url, "t", ({"n": n, "x": "x" * 100} for n in range(count)))
        assert published.messages == count
        until = time.monotonic() + 30
        while not any(server.lags()):
            assert time.monotonic() < until, "all of it was taken, though nobody read it"
            time.sleep(0.01)
        came = 0
        while came < count:
            for said in next(feed).data:
                assert said["n"] == came
                came += 1
        assert feed.missed == 0


def test_messages_that_wait_come_all(pushed):
    lapwing.publish(pushed.url, "t", range(20_000))
    feed = lapwing.listen(pushed.url, topics=["t"], start="earliest", count=20_000)
    assert [message.data for message in feed.messages()] == list(range(20_000))
