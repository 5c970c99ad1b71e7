"""README.md and PROTOCOL.md keep their word: what they print as code is run, with nothing changed but the address."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest
from websockets.sync.client import connect

from program import DEADLINE_S, Program, Server, until
from relay import Relay

ROOT = pathlib.Path(__file__).parents[2]
ADDRESS = "127.0.0.1:8765"


def blocks(page, language):
    """The blocks of code of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def at(code, address):
    """The code, for a server elsewhere."""
    assert ADDRESS in code
    return code.replace(ADDRESS, address)


@contextlib.contextmanager
def python(code):
    """Runs code until the test is done with it; gives its lines as they come."""
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
        reader.start()
        try:
            yield lines
        finally:
            process.kill()
            reader.join(DEADLINE_S)


def received(lines, topic):
    """The offsets that the client of PROTOCOL.md has printed for a topic."""
    return [int(line.split()[1]) for line in list(lines) if line.startswith(f"{topic} ")]


def test_the_client_of_the_protocol_page_resumes_after_a_cut_and_is_told_of_a_new_history():
    (code,) = (block for block in blocks("PROTOCOL.md", "python") if "asyncio.run" in block)
    topics = ["--topic", "users=users?every=20ms", "--topic", "arrays=arrays?every=20ms"]
    with Server(*topics) as server, Relay(server.port) as way:
        with python(at(code, f"127.0.0.1:{way.port}")) as lines:
            for _ in range(3):
                before = len(received(lines, "users"))
                until(lambda: len(received(lines, "users")) > before + 10, lambda: f"ten more users: {lines}")
                way.cut()
            before = len(received(lines, "users"))
            until(lambda: len(received(lines, "users")) > before, lambda: f"one more user: {lines}")
            for topic in ("users", "arrays"):
                offsets = received(lines, topic)
                assert offsets == list(range(len(offsets)))
            assert not any("missed" in line for line in lines), lines
            way.lead_to(None)
            assert server.stop(15) == 0
            with Server(*topics) as another:
                way.lead_to(another.port)
                until(lambda: any("missed" in line and "reset" in line for line in list(lines)), lambda: f"a reset: {lines}")


def test_the_python_of_the_readme_prints_the_feed(server):
    (code,) = (block for block in blocks("README.md", "python") if "import asyncio" in block)
    with python(at(code, server.address)) as lines:
        until(lambda: len(lines) >= 5, lambda: f"five messages: {lines}")
        assert all(json.loads(line)["topic"] == "users" for line in lines[:5])


@pytest.mark.needs("chromium")
def test_the_browser_code_of_the_readme_logs_the_feed(server, browser):
    (code,) = blocks("README.md", "js")
    with browser.open(server.http()) as page:
        page.run("window.logged = [], console.log = (...values) => logged.push(values)")
        page.run(f"(() => {{ {code} }})()")
        page.until("logged.length >= 3 && logged.every(([value]) => typeof value.name === 'string')")
        assert server.stop() == 0
        page.until("logged.some(([code]) => code === 1001)")


@pytest.mark.needs("curl")
def test_the_commands_of_the_readme_publish(pushed):
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"^    (curl -d .*/topics/orders/messages)$", readme, re.MULTILINE)
    answer = subprocess.run(["sh", "-c", at(command, pushed.address)], capture_output=True, timeout=DEADLINE_S, check=True)
    assert json.loads(answer.stdout)["first"] == 0
    assert "    seq 3 | lapwing publish orders\n" in readme
    with Program("publish", f"ws://{pushed.address}", "orders", stdin=subprocess.PIPE) as publish:
        publish.stdin.write(b"1\n2\n3\n")
        publish.stdin.close()
        assert publish.wait() == 0, publish
    with connect(pushed.ws("?from=earliest")) as client:
        data = [json.loads(client.recv())["data"] for _ in range(4)]
    assert data == [{"id": 1, "total": 12.5}, 1, 2, 3]


@pytest.mark.parametrize("page", ["README.md", "PROTOCOL.md", "examples/README.md", "docs/recording.md", "docs/export.md"])
def test_every_flag_that_a_page_shows_is_in_the_help(page):
    shown = re.findall(r"\blapwing (serve|listen|publish|export|demo)\b([^\n`|]*)", (ROOT / page).read_text())
    for command, rest in shown:
        asked = subprocess.run([os.environ["LAPWING_BIN"], command, "--help"], capture_output=True, text=True, check=True)
        for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", rest):
            assert re.search(rf"{flag}\b(?!-)", asked.stdout), f"lapwing {command} has no {flag}"


@pytest.mark.parametrize("page", ["README.md", "PROTOCOL.md"])
def test_every_block_of_json_is_json(page):
    for block in blocks(page, "json"):
        # One value on several lines, or one a line.
        for value in [block] if "\n " in block else block.splitlines():
            json.loads(value)
