"""Several servers of one feed behind a real nats-server: what any of them tells, and what its page shows, is of all."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from jsonschema import Draft202012Validator

from program import Server, until
from test_dashboard import CELLS, NAMES, SENTENCE, SERVERS, axe_is_content, check_quiet
from test_watching import LISTED, cell, listening, told, watched

pytestmark = pytest.mark.needs("nats-server")

FEED = ("--topic", "feed=arrays?every=250ms&burst=1&keep=1h")
OPENAPI = pathlib.Path(__file__).parents[2] / "docs/openapi.json"


@contextlib.contextmanager
def broker(folder):
    """One server of NATS, by its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ["LAPWING_NATS_SERVER"], "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        def listens():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True

        try:
            until(listens, "nats-server listens")
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture
def fleet(tmp_path):
    """Two servers, `a` and `b`, with a listener each."""
    with broker(tmp_path) as url, Server(*FEED, "--broker", url, "--server-name", "a") as a, Server(*FEED, "--broker", url, "--server-name", "b") as b:
        with listening(a, "near"), listening(b, "far"):
            yield a, b


def test_what_each_tells_of_all_is_as_openapi_has_it(fleet):
    document = json.loads(OPENAPI.read_text())
    for server in fleet:
        def reported():
            rows = told(server, "/api/clients")["rows"]
            return {row["server"] for row in rows if any("reported" in topic for topic in row["topics"])} == {"a", "b"}

        until(reported, "both have reported")
        until(lambda: {report["server"] for report in told(server, "/api/reports")["reports"]} == {"a", "b"}, "reports of both")
        assert [row["state"] for row in told(server, "/api/servers")["servers"]] == ["there", "there"]
        for path in ("/api/servers", "/api/clients", "/api/reports"):
            schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            schema = Draft202012Validator({**schema, "components": document["components"]})
            answer = told(server, path)
            schema.validate(answer)
            assert not schema.is_valid({**answer, "servers": 5, "rows": 5, "reports": 5}), "it can fail"


@pytest.mark.needs("chromium")
def test_the_page_of_one_server_shows_the_clients_of_all_and_that_one_is_gone(browser, fleet):
    a, b = fleet
    with watched(browser, a) as page:
        page.until(f"{NAMES}.length === 2 && {NAMES}.includes('near') && {NAMES}.includes('far')")
        page.until(f"{cell('near', 1)} === 'source-limited' && {cell('far', 1)} === 'source-limited'")
        assert sorted((row[0].lstrip("●"), row[-1]) for row in page.run(CELLS)) == [("far", "b"), ("near", "a")]
        page.until(f"{SENTENCE}.startsWith('All 2 clients keep up.')")
        page.until(f"{SERVERS}.length === 2 && {SERVERS}.every((row) => row[1] === '● well')")
        page.until("document.querySelectorAll('#blocks-body .charts figure').length === 2")
        axe_is_content(page)
        b.send_signal(signal.SIGKILL)
        page.until(f"{NAMES}.join() === 'near'")
        page.until(f"{SENTENCE}.endsWith('Of 2 servers 1 is gone.')")
        page.until(f"{LISTED}.some((line) => line.includes('a server b is gone: nothing was heard of it for '))")
        check_quiet(page, a.address)
