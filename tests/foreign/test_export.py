"""`lapwing export` read back by those it is for: NumPy, Arrow's reader of Parquet, and Python's `csv`."""

import contextlib
import csv
import io
import json
import os
import pty
import subprocess

import numpy
import pyarrow.parquet
import pytest

from program import DEADLINE_S, Program, Server, until

VALUES = {
    "ints": [[1, -2, 3], [4, 5, -9223372036854775808]],
    "unsigned": [0, 18446744073709551615],
    "floats": [[0.1, -2.5e-300], [1.0, 1.7976931348623157e308]],
    "booleans": [[True], [False]],
    "cubes": [[[[1, 2], [3, 4], [5, 6]]], [[[7, 8], [9, 10], [11, 12]]]],
    "empty": [[], []],
    "ragged": [[[1], [], [2, 3]], []],
    "people": [{"name": "Ann", "home": {"city": "Århus 鸟"}, "age": 30}, {"name": "", "home": {"city": None}, "age": -1}],
    "mixed": [{"value": 1}, {"value": "one"}],
}
"""Two messages for each topic."""

STACKED = ["ints", "unsigned", "floats", "booleans", "cubes", "empty"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A recording that `listen` wrote, of everything above."""
    log = tmp_path_factory.mktemp("recording") / "feed.ndjson"
    topics = [flag for name in VALUES for flag in ("--topic", f"{name}=push")]
    with Server(*topics) as server:
        for name, values in VALUES.items():
            server.publish(name, *values)
        count = str(sum(map(len, VALUES.values())))
        with Program("listen", server.ws(), "--from", "earliest", "--count", count, "--log", str(log)) as listen:
            assert listen.wait() == 0, listen
    return log


def export(log, to, *flags, code=0):
    """Exports, and gives what it says of it as an object."""
    with Program("export", str(log), "--to", str(to), "--json", *flags) as program:
        assert program.wait() == code, program
    return json.loads(program.out[0]) if program.out else json.loads(program.err[0])


def messages(log, topic):
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line.get("topic") == topic and "record" not in line]


def nanos(times):
    """Moments as RFC 3339 has them."""
    return [numpy.datetime64(time.removesuffix("Z"), "ns") for time in times]


@pytest.mark.parametrize("topic", STACKED)
def test_numpy_loads_each_array_with_its_offsets_and_times(recorded, tmp_path, topic):
    export(recorded, tmp_path / "feed.npy", "--topic", topic)
    export(recorded, tmp_path / "feed.npz", "--topic", topic)
    lines = messages(recorded, topic)
    with numpy.load(tmp_path / "feed.npz") as archive:
        assert archive.files == ["data", "offsets", "times", "received"]
        for name, path in {"data": "feed.npy", "offsets": "feed.offsets.npy"}.items():
            array = numpy.load(tmp_path / path, mmap_mode="r" if topic != "empty" else None)
            assert (array == archive[name]).all() and array.dtype == archive[name].dtype
        # Left to itself NumPy would round these to floats.
        expect = numpy.array(VALUES[topic], dtype="uint64" if topic == "unsigned" else None)
        assert archive["data"].shape == expect.shape and archive["data"].tolist() == VALUES[topic]
        assert archive["data"].dtype == expect.dtype
        assert archive["offsets"].tolist() == [line["offset"] for line in lines]
        assert list(archive["times"]) == nanos(line["time"] for line in lines)
        assert list(archive["received"]) == nanos(line["received"] for line in lines)


def test_numpy_loads_users_as_columns(recorded, tmp_path):
    export(recorded, tmp_path / "feed.npz", "--topic", "people")
    with numpy.load(tmp_path / "feed.npz", allow_pickle=False) as archive:
        assert archive["name"].tolist() == ["Ann", ""]
        assert archive["age"].tolist() == [30, -1]
        assert archive["home.city"].tolist() == ["Århus 鸟", ""]
        assert archive["home.city.missing"].tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_a_type_that_is_asked_for_is_the_type(recorded, tmp_path, dtype):
    values = numpy.array(VALUES["cubes"]).astype(dtype)
    export(recorded, tmp_path / "feed.npy", "--topic", "cubes", "--dtype", dtype)
    array = numpy.load(tmp_path / "feed.npy")
    assert array.dtype == values.dtype and (array == values).all()
    export(recorded, tmp_path / "feed.parquet", "--topic", "cubes", "--dtype", dtype)
    table = pyarrow.parquet.read_table(tmp_path / "feed.parquet")
    assert table["data"].to_pylist() == values.tolist()
    assert dtype.replace("float32", "float").replace("float64", "double") in str(table.schema.field("data").type)


def test_arrow_reads_every_topic(recorded, tmp_path):
    told = export(recorded, tmp_path / "feed.parquet")
    assert [made["topic"] for made in told["topics"]] == list(VALUES)
    for topic, values in VALUES.items():
        table = pyarrow.parquet.read_table(tmp_path / f"feed-{topic}.parquet")
        lines = messages(recorded, topic)
        assert table["offset"].to_pylist() == [line["offset"] for line in lines]
        assert table["epoch"].to_pylist() == [line["epoch"] for line in lines]
        assert str(table.schema.field("received").type) == "timestamp[ns, tz=UTC]"
        assert [time.value for time in table["time"]] == [time.astype(int) for time in nanos(line["time"] for line in lines)]
        if topic == "people":
            people = {"name": ["Ann", ""], "home.city": ["Århus 鸟", None], "age": [30, -1]}
            assert {name: table[name].to_pylist() for name in people} == people
        elif topic == "mixed":
            assert table["value"].to_pylist() == ["1", '"one"']
        else:
            assert table["data"].to_pylist() == values, topic
    types = {topic: str(pyarrow.parquet.read_schema(tmp_path / f"feed-{topic}.parquet").field("data").type) for topic in STACKED}
    assert types["unsigned"] == "uint64" and "int64" in types["ints"] and "bool" in types["booleans"], types


def test_many_groups_of_rows_are_one_table(tmp_path):
    """More than fits one group: what lists say of their lengths begins anew in each."""
    log, values = tmp_path / "feed.ndjson", [list(range(at % 3 * 45_000)) for at in range(75)]
    with Server("--topic", "lists=push") as server:
        for value in values:
            server.publish("lists", value)
        with Program("listen", server.ws(), "--from", "earliest", "--count", "75", "--log", str(log), "--quiet") as listen:
            assert listen.wait() == 0, listen
    export(log, tmp_path / "feed.parquet")
    file = pyarrow.parquet.ParquetFile(tmp_path / "feed.parquet")
    assert file.num_row_groups > 1
    assert file.read()["data"].to_pylist() == values


def test_csv_comes_back(recorded, tmp_path):
    export(recorded, tmp_path / "feed.csv")
    for topic, values in VALUES.items():
        with open(tmp_path / f"feed-{topic}.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        assert [row["offset"] for row in rows] == ["0", "1"]
        assert [row["received"] for row in rows] == [line["received"] for line in messages(recorded, topic)]
        if topic == "people":
            assert [row["home.city"] for row in rows] == ["Århus 鸟", ""]
        elif topic == "ints":
            assert [[int(row[f"data.{at}"]) for at in range(3)] for row in rows] == values
        elif topic in ("ragged", "empty"):
            assert [json.loads(row["data"]) for row in rows] == values


def test_what_npz_has_no_array_for_is_said(recorded, tmp_path):
    for topic, says in {"ragged": "lists of several lengths", "mixed": "has no one type: numbers at offset 0, text at offset 1"}.items():
        told = export(recorded, tmp_path / "feed.npz", "--topic", topic, code=1)
        assert says in told["error"] and told["hint"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_on_a_terminal_there_is_a_bar_while_it_takes_long(recorded, tmp_path, flags):
    """The recording is a pipe, so that a reading takes as long as is wanted; programs that read JSON see no bar."""
    log, shown = tmp_path / "feed.ndjson", []
    os.mkfifo(log)
    terminal, end = pty.openpty()
    command = [os.environ["LAPWING_BIN"], "export", log, "--topic", "ints", "--to", tmp_path / "feed.npy", *flags]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=end) as process, contextlib.ExitStack() as last:
        last.callback(process.kill)
        os.close(end)
        os.set_blocking(terminal, False)

        def look(part):
            try:
                shown.append(os.read(terminal, 65536).decode())
            except (BlockingIOError, OSError):
                pass
            return part in "".join(shown)

        with open(log, "wb", buffering=0) as pipe:
            whole = io.BytesIO(recorded.read_bytes())
            # It moves with what is read, and shows after a second.
            if not flags:
                until(lambda: pipe.write(whole.read(10)) and look("exporting"), "the bar")
            pipe.write(whole.read())
        until(lambda: len(os.listdir(tmp_path)) > 1, "the second reading")
        log.write_bytes(recorded.read_bytes())
        assert process.wait(DEADLINE_S) == 0
        look("")
    os.close(terminal)
    assert ("exporting" in "".join(shown)) == (not flags), shown
