"""Recordings: written, gone on with, proven by `lapwing verify`, and read."""

import json
import os
import subprocess

import lapwing
import pytest
from conftest import PROGRAM


def verify(log):
    proof = subprocess.run([PROGRAM, "verify", log], capture_output=True, text=True, timeout=60)
    assert proof.returncode == 0, proof.stdout + proof.stderr


def test_a_recording_goes_on_where_it_ends_and_is_proven(pushed, tmp_path):
    log = tmp_path / "feed.ndjson"
    pushed.post("a", *([n, n] for n in range(7)))
    pushed.post("t", {"a": 1}, "text", 3)
    first = lapwing.record(pushed.url, log, topics=["a", "t"], start="earliest", count=6)
    assert first == lapwing.Recorded(messages=6, missed=0, reconnects=0)
    assert lapwing.record(pushed.url, log, topics=["a", "t"], start="earliest", count=4).messages == 4
    verify(log)
    messages = list(lapwing.read_log(log))
    assert len(messages) == 10
    arrays = [message for message in messages if message.topic == "a"]
    assert [message.offset for message in arrays] == list(range(7))
    assert [message.array.tolist() for message in arrays] == [[n, n] for n in range(7)]
    assert [message.data for message in lapwing.read_log(log, topic="t")] == [{"a": 1}, "text", 3]


def test_a_feed_is_read_and_recorded_at_once(pushed, tmp_path):
    log = tmp_path / "feed.ndjson"
    with lapwing.listen(pushed.url, topics=["a"], block=3, log=log) as feed:
        pushed.post("a", [1], [2], [3])
        block = next(feed)
    verify(log)
    (one, two, three) = lapwing.read_log(os.fspath(log))
    assert [one.data, two.data, three.data] == block.array.tolist()
    assert (one.epoch, one.offset, one.topic) == (block.epoch, 0, "a")
    assert one.received == block[0].received and one.mono == block[0].mono


def test_two_do_not_write_one_file(pushed, tmp_path):
    log = tmp_path / "feed.ndjson"
    with lapwing.listen(pushed.url, topics=["t"], log=log):
        with pytest.raises(lapwing.LogError, match=f"being written by another listener.*{os.getpid()}"):
            lapwing.record(pushed.url, log)


def test_what_is_no_recording_is_left_alone(pushed, tmp_path):
    log = tmp_path / "letter.txt"
    log.write_text("dear all\n")
    with pytest.raises(lapwing.LogError, match="holds something else"):
        lapwing.listen(pushed.url, log=log)
    assert log.read_text() == "dear all\n"


def test_damage_is_raised_after_what_came_before_it(pushed, tmp_path):
    log = tmp_path / "feed.ndjson"
    pushed.post("t", *range(5))
    lapwing.record(pushed.url, log, topics=["t"], start="earliest", count=5)
    lines = log.read_text().splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if json.loads(line).get("data") == 3)
    lines[at] = lines[at].replace('"data":3', '"data":9')
    log.write_text("".join(lines))
    reading, got = lapwing.read_log(log), []
    with pytest.raises(lapwing.LogError, match=rf"line {at + 1} is not as it was written"):
        for message in reading:
            got.append(message.data)
    assert got == [0, 1, 2]
    assert [message.data for message in lapwing.read_log(log, damaged="skip")] == [0, 1, 2, 4]
    with pytest.raises(ValueError, match="damaged='no'"):
        lapwing.read_log(log, damaged="no")


def test_a_file_that_is_not_there_is_told_at_once(tmp_path):
    with pytest.raises(lapwing.LogError, match="cannot be read: .*no such file"):
        lapwing.read_log(tmp_path / "nothing.ndjson")


def test_a_recording_of_nobody_is_an_error(tmp_path):
    with pytest.raises(lapwing.ConnectError):
        lapwing.record("ws://127.0.0.1:9", tmp_path / "feed.ndjson", connect_timeout=0.3)
