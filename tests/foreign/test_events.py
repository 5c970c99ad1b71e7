"""Server-sent events in the clients that people have: Chromium's EventSource, and curl."""

import contextlib
import json
import re
import subprocess

import pytest

from program import Server

FOLLOW = """
window.offsets = [], window.others = [], window.errors = 0;
window.events = new EventSource("%s");
events.onmessage = (event) => offsets.push([JSON.parse(event.data).offset, event.lastEventId]);
events.onerror = () => errors++;
for (const name of ["gap", "reset", "bye"])
  events.addEventListener(name, (event) => others.push([name, JSON.parse(event.data)]));
"""


def follow(page, target, state=1):
    """Has the page follow a topic until it is connected, or in another state."""
    page.run(f"(() => {{ {FOLLOW % target} }})()")
    page.until(f"events.readyState === {state}")


# Pages are opened at /healthz: of the same origin, and no client themselves.


def offsets(page):
    return [offset for offset, _ in page.run("offsets")]


def durable(folder, port=0):
    return Server("--data", str(folder), "--topic", "orders=push?durability=os", port=port)


@pytest.mark.needs("chromium")
def test_an_event_source_gets_each_offset_once_through_kills_of_the_server(browser, tmp_path):
    with contextlib.ExitStack() as servers:
        server = servers.enter_context(durable(tmp_path / "data"))
        page = servers.enter_context(browser.open(server.http("/healthz")))
        follow(page, "/topics/orders/events")
        # Nothing has come yet: it has a place to come back to all the same.
        for first in range(0, 40, 10):
            server.send_signal(9)
            server.wait()
            server = servers.enter_context(durable(tmp_path / "data", server.port))
            server.publish("orders", *range(first, first + 5))
            page.until(f"offsets.length >= {first + 5}")
            server.publish("orders", *range(first + 5, first + 10))
            page.until(f"offsets.length >= {first + 10}")
        assert offsets(page) == list(range(40))
        (_, last) = page.run("offsets.at(-1)")
        assert re.fullmatch(r"[0-9a-f]{32}:40", last)
        assert page.run("others") == []


@pytest.mark.needs("chromium")
def test_an_event_source_is_told_of_a_new_history_and_of_what_was_let_go(browser):
    topic = ["--topic", "orders=push?keep_bytes=64KiB"]
    with Server(*topic) as server, browser.open(server.http("/healthz")) as page:
        server.publish("orders", *["x" * 5000] * 50)
        follow(page, "/topics/orders/events?from=0")
        page.until("offsets.length > 0 && offsets.at(-1)[0] === 49")
        ((name, gap),) = page.run("others")
        assert (name, gap["type"], gap["from"], gap["reason"]) == ("gap", "gap", 0, "retention")
        assert offsets(page) == list(range(gap["to"], 50))
        assert server.stop(15) == 0
        page.until("others.some(([name]) => name === 'bye')")
        with Server(*topic, port=server.port) as another:
            another.publish("orders", "new")
            page.until("others.some(([name]) => name === 'reset')")
            page.until("offsets.at(-1)[0] === 0")


@pytest.mark.needs("chromium")
def test_an_event_source_stays_away_from_a_topic_that_has_ended(browser):
    with Server("--topic", "orders=exec:seq 3?restart=never&end=close&start=listener") as server:
        with browser.open(server.http("/healthz")) as page:
            follow(page, "/topics/orders/events?from=earliest", 2)
            assert offsets(page) == [0, 1, 2]
            assert page.run("others") == [
                ["bye", {"type": "bye", "reason": "the feed has ended", "next": {"orders": 3}}]
            ]


@pytest.mark.needs("chromium")
def test_an_event_source_that_is_closed_is_told_as_one_that_left(browser, server):
    with browser.open(server.http("/healthz")) as page:
        follow(page, "/topics/users/events?name=kiosk")
        page.until("offsets.length > 2")
        page.run("events.close()")
        left = server.object(event="left", client="kiosk")
        assert left["by"] == "client"
        assert server.object(event="joined", client="kiosk")["mode"] == "events"


@pytest.mark.needs("curl")
def test_curl_shows_events_as_the_banner_says():
    with Server(output="text") as server:
        command = server.err_line(r"(curl -N http://\S+)")[1].split()
        with subprocess.Popen([*command, "-s"], stdout=subprocess.PIPE, text=True) as process:
            data = (line.removeprefix("data: ") for line in process.stdout if line.startswith("data: "))
            message = json.loads(next(data))
            process.kill()
        assert list(message) == ["topic", "offset", "time", "data"]
