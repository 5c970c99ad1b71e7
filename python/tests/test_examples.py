"""Every example is run as it stands, against a server that runs."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import lapwing
import numpy
import pytest
from websockets.sync.client import connect

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "python/examples"


@pytest.fixture
def arrays(serve):
    return serve("--topic", "arrays=arrays?every=20ms&burst=5&shape=10")


def run(script, *arguments, cwd):
    command = [sys.executable, os.fspath(script), *map(os.fspath, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def decoder():
    spec = importlib.util.spec_from_file_location("binary", ROOT / "examples/binary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.decode


def test_the_plot_is_a_picture(arrays, tmp_path):
    picture = tmp_path / "feed.png"
    assert run(EXAMPLES / "plot.py", arrays.url, picture, "3", cwd=tmp_path) == f"3 blocks in {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and picture.stat().st_size > 5000


def test_the_frame_has_a_row_for_each_message(arrays, tmp_path):
    printed = run(EXAMPLES / "frame.py", arrays.url, "3", cwd=tmp_path)
    count, _, _, _, first, _, last = printed.splitlines()[-1].split()
    assert int(count) == int(last) - int(first) + 1 > 10


def test_the_notebook_runs(arrays, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("LAPWING_URL", arrays.url)
    notebook = nbformat.read(EXAMPLES / "feed.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=180, resources={"metadata": {"path": os.fspath(tmp_path)}}).execute()
    (output,) = notebook.cells[-1].outputs
    assert ", 10), " in output["data"]["text/plain"]


def test_the_simulation_comes_as_a_browser_reads_it(serve, tmp_path):
    server = serve("--topic", "waves=push?dtype=float64")
    decode = decoder()
    url = f"{server.url}/?topics=waves&from=last:1&encoding=binary"
    with connect(url, additional_headers={"Origin": f"http://{server.address}"}) as page:
        printed = run(EXAMPLES / "simulation.py", server.url, "20", cwd=tmp_path)
        frames = [decode(page.recv(timeout=30)) for _ in range(20)]
    assert printed == "published 20 arrays: offsets 0 to 19\n"
    assert [offset for _, offset, _, _ in frames] == list(range(20))
    assert all(array.dtype == "f8" and array.shape == (200,) for *_, array in frames)
    assert frames[0][3].max() == pytest.approx(1, abs=0.01) and frames[0][3][0] == 0


def test_the_client_of_thirty_lines_sees_what_the_package_sees(serve):
    server = serve("--topic", "arrays=push?dtype=float32")
    arrays = numpy.random.default_rng(7).normal(size=(10, 3, 4)).astype("f4")
    decode = decoder()
    with connect(f"{server.url}/?topics=arrays&encoding=binary") as theirs, lapwing.listen(
        server.url, topics=["arrays"], block=10
    ) as ours:
        lapwing.publish(server.url, "arrays", arrays)
        block = next(ours)
        frames = [decode(theirs.recv(timeout=30)) for _ in range(10)]
    assert (block.array == arrays).all() and (numpy.stack([frame[3] for frame in frames]) == arrays).all()
    for message, (topic, offset, time, _) in zip(block, frames, strict=True):
        assert (message.topic, message.offset) == (topic, offset)
        assert numpy.datetime64(message.time.replace(tzinfo=None), "us") == time


def test_the_client_of_thirty_lines_runs(arrays, tmp_path):
    printed = run(ROOT / "examples/binary.py", arrays.url, "3", cwd=tmp_path).splitlines()
    offsets = [int(line.split()[1]) for line in printed]
    assert len(offsets) == 3 and offsets == list(range(offsets[0], offsets[0] + 3))
    assert all(line.startswith("arrays ") and " int64 (10,) [" in line for line in printed)
