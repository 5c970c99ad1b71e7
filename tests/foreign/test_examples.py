"""The files in examples/, run as they stand."""

import functools
import http.server
import json
import re
import subprocess
import sys
import threading

import pytest

from conftest import EXAMPLES
from program import DEADLINE_S, Server, until

TOLD = r'says +client (\d+) \((\S+)\): "(Time taken to receive 5 messages: \d+\.\d+ s)"'


@pytest.fixture
def people():
    """A server as it is started by hand: both topics at their own pace, lines for people."""
    with Server(output="text") as server:
        yield server


def test_the_python_example_is_told_on_the_console_with_the_clients_number(people):
    run = subprocess.run(
        [sys.executable, EXAMPLES / "listen.py", f"ws://{people.address}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    check_run(run.stdout, people)


@pytest.mark.needs("npm")
def test_the_node_example_is_told_on_the_console_with_the_clients_number(people, npm):
    with npm(EXAMPLES / "listen.mjs", f"ws://{people.address}") as process:
        printed, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, printed
    check_run(printed, people)


def check_run(printed, server):
    shown = re.findall(r"^arrays (\d+) at \S+: (\[.*\])$", printed, re.MULTILINE)
    assert len(shown) == 5, printed
    offsets = [int(offset) for offset, _ in shown]
    assert offsets == list(range(offsets[0], offsets[0] + 5))
    assert all(len(json.loads(array)) == 10 for _, array in shown)
    number, address, _ = server.line(TOLD).groups()
    assert server.err_line(rf"join +client {number} joined from {re.escape(address)} \(plain\): arrays")
    assert server.err_line(rf"left +client {number} left .*1000.*5 messages")


@pytest.mark.needs("chromium")
def test_the_page_example_shows_the_feed_of_a_server_that_allows_it(browser):
    handler = functools.partial(QuietHandler, directory=EXAMPLES)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{site.server_port}"
        with Server("--topic", "users=users?every=50ms", "--allow-origin", origin) as server:
            with browser.open(f"{origin}/browser.html?url={server.ws()}") as page:
                page.until("document.querySelectorAll('#messages li').length >= 5")
                assert page.run("document.getElementById('state').textContent") == "live"
                assert page.run("document.querySelector('#messages li').textContent").startswith("users ")
                assert server.stop() == 0
                page.until("document.getElementById('state').textContent.startsWith('closed with 1001')")
        site.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
