"""The README keeps its word: its lines for this package are run, with nothing changed but the address."""

import pathlib
import re
import subprocess
import sys

import lapwing
import pytest

ROOT = pathlib.Path(__file__).parents[2]
ADDRESS = "127.0.0.1:8765"


def lines_of_python(page):
    found = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [code for code in found if "lapwing." in code]


def run(code, server, folder):
    """Runs lines that end by themselves; gives what they print."""
    assert ADDRESS in code
    command = [sys.executable, "-c", code.replace(ADDRESS, server.address)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture
def server(serve):
    arrays = "arrays=arrays?every=20ms&burst=5"
    return serve("--topic", "users=users?every=20ms", "--topic", arrays, "--topic", "waves=push?dtype=float64")


def test_the_python_of_the_readme_runs_as_it_stands(server, tmp_path):
    (code,) = lines_of_python("README.md")
    printed = run(code, server, tmp_path).splitlines()
    assert len(printed) == 3
    for line in printed:
        shape, elapsed = line.rsplit(") ", 1)
        assert shape in ("(5, 10", "(4, 10", "(3, 10", "(2, 10", "(1, 10")
        assert elapsed == "None" or float(elapsed) > 0


def test_the_python_of_its_page_runs_as_it_stands(server, tmp_path):
    codes = lines_of_python("docs/python.md")
    assert len(codes) == 4
    for code in codes:
        assert run(code, server, tmp_path)
    assert sum(1 for _ in lapwing.read_log(tmp_path / "feed.ndjson")) == 20
