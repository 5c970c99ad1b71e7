"""The page at /, in headless Chromium."""

import signal
import urllib.parse

import pytest

from program import Server
from relay import Relay

pytestmark = pytest.mark.needs("chromium")

ROWS = "Array.from(document.querySelectorAll('#topics tr'), (row) => row.cells[0].textContent)"
LINES = "Array.from(document.querySelectorAll('#messages li:not(.empty)'), (line) => line.textContent)"
STATE = "document.getElementById('state').textContent"

HOSTILE = [
    '<img src=x onerror="alert(1)">',
    "<script>alert(2)</script>",
    "</li></ol><iframe src=javascript:alert(3)></iframe>",
    "{{constructor.constructor('alert(4)')()}}",
    "\x1b[2J\x1b]0;title\x07 \u202eright to left\u2066",
    {"<b onmouseover=alert(5)>": ["<svg/onload=alert(6)>"]},
]


def offsets(page, topic):
    """The offsets of the lines of a topic, oldest first."""
    found = page.run(
        f"Array.from(document.querySelectorAll('#messages li'), (line) => line.querySelector('.topic')?.textContent === '{topic}'"
        " ? Number(line.querySelector('.offset').textContent) : -1).filter((offset) => offset >= 0)"
    )
    return found[::-1]


def check_quiet(page, server):
    """Nothing went wrong in the page, and nothing was asked of anyone but the server."""
    seen = page.seen
    assert (seen["errors"], seen["dialogs"], seen["violations"]) == ([], [], [])
    assert {urllib.parse.urlsplit(url).netloc for url in seen["requests"]} == {server.address}


def test_the_page_shows_both_topics_live_and_asks_nothing_of_anyone_else(browser):
    with Server() as server, browser.open(server.http()) as page:
        page.until(f"{STATE} === 'live'")
        page.until(f"{ROWS}.length === 2")
        assert sorted(page.run(ROWS)) == ["arrays", "users"]
        page.until(f"{LINES}.some((line) => line.includes('arrays')) && {LINES}.some((line) => line.includes('users'))")
        before = len(page.run(LINES))
        page.until(f"{LINES}.length > {before}")
        for topic in ("users", "arrays"):
            shown = offsets(page, topic)
            assert shown == list(range(shown[0], shown[0] + len(shown)))
        assert server.object(event="joined", client="page")["mode"] == "lapwing.v1"
        check_quiet(page, server)


def test_one_topic_can_be_shown_and_the_list_held(browser):
    with Server("--topic", "orders=push", "--topic", "users=users?every=100ms") as server:
        with browser.open(server.http()) as page:
            page.until(f"{LINES}.some((line) => line.includes('users'))")
            page.run("(document.getElementById('topic').value = 'orders', document.getElementById('topic').dispatchEvent(new Event('change')))")
            page.until("document.getElementById('messages').textContent.startsWith('Waiting for the first message.')")
            server.publish("orders", "shown")
            page.until(f"{LINES}.length === 1 && {LINES}[0].includes('shown')")
            page.click("#pause")
            server.publish("orders", "held")
            page.until("document.getElementById('held').textContent === '1 wait'")
            assert "held" not in page.run("document.getElementById('messages').textContent")
            page.click("#pause")
            page.until(f"{LINES}[0].includes('held')")


@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_payload_is_shown_as_text(browser, payload):
    with Server("--topic", "orders=push") as server, browser.open(server.http()) as page:
        page.until(f"{STATE} === 'live'")
        server.publish("orders", payload)
        server.publish("orders", "the end")
        page.until(f"{LINES}.some((line) => line.includes('the end'))")
        line = page.run(f"{LINES}[1]")
        assert "alert" in line or "title" in line
        assert line.isprintable(), line
        assert page.run("document.querySelectorAll('img, iframe, svg, b').length") == 0
        assert page.run("document.querySelectorAll('script').length") == 2
        check_quiet(page, server)


def test_the_page_says_that_the_server_is_lost_and_goes_on_with_the_next(browser):
    with Server("--topic", "orders=push") as first, browser.open(first.http()) as page:
        page.until(f"{STATE} === 'live'")
        first.publish("orders", "from the first")
        page.until(f"{LINES}.some((line) => line.includes('from the first'))")
        first.send_signal(signal.SIGKILL)
        first.wait()
        page.until("document.getElementById('sentence').textContent.startsWith('Lost the server ')")
        assert "from the first" in page.run("document.getElementById('messages').textContent")
        with Server("--topic", "orders=push", port=first.port) as second:
            page.until(f"{STATE} === 'live'")
            second.publish("orders", "from the second")
            page.until(f"{LINES}.some((line) => line.includes('from the second'))")
            seen = page.seen
            assert (seen["dialogs"], seen["violations"]) == ([], [])
            gone = ("WebSocket connection", "/api/")
            assert all(any(known in error for known in gone) for error in seen["errors"]), seen["errors"]


def test_the_page_goes_on_where_it_was_when_only_the_connection_is_lost(browser):
    with Server("--topic", "orders=push") as server, Relay(server.port) as way:
        with browser.open(f"http://127.0.0.1:{way.port}/") as page:
            page.until(f"{STATE} === 'live'")
            server.publish("orders", 0)
            page.until(f"{LINES}.length === 1")
            way.cut()
            # More than a page that begins anew asks for.
            server.publish("orders", *range(1, 41))
            page.until(f"{LINES}.length === 41")
            assert offsets(page, "orders") == list(range(41))
            server.object(event="joined", client="page", session=2)


@pytest.mark.parametrize("width", [360, 800, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_its_window(browser, tmp_path, width, dark):
    with Server("--topic", "users=users?every=50ms", "--topic", "arrays=arrays?every=100ms") as server:
        with browser.open(server.http(), width=width, dark=dark) as page:
            page.until(f"{LINES}.length >= 10")
            picture = tmp_path / "page.png"
            page.shot(picture)
            assert picture.stat().st_size > 0
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"
            background = page.run("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
