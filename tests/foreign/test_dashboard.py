"""The page at /, with everything that a server can have to tell. A fake server plays the scenes; what the program itself tells
is in test_browser.py."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
from jsonschema import Draft202012Validator

import scenes
from fake import PAGE, Fake
from program import until
from relay import Relay

NEEDS_BROWSER = pytest.mark.needs("chromium")
STATE = "document.getElementById('state').textContent"
SENTENCE = "document.getElementById('sentence').innerText"
CHAIN = "Array.from(document.querySelectorAll('#chain li'), (station) => station.innerText.replaceAll(/\\s+/g, ' ').trim())"
NAMES = "Array.from(document.querySelectorAll('#clients-rows tr.row'), (row) => row.querySelector('.name').textContent)"
CELLS = "Array.from(document.querySelectorAll('#clients-rows tr.row'), (row) => Array.from(row.cells, (cell) => cell.innerText.trim()))"
LINES = "Array.from(document.querySelectorAll('#messages li:not(.empty)'), (line) => line.textContent)"
SHOTS = os.environ.get("LAPWING_SHOTS")
"""Where pictures for people go, if anybody wants them."""


def check_quiet(page, address, errors=()):
    """Nothing went wrong in the page but what was to be, and nothing was asked of anyone but the server."""
    seen = page.seen
    assert (seen["dialogs"], seen["violations"]) == ([], [])
    assert [error for error in seen["errors"] if not any(known in error for known in errors)] == []
    assert {urllib.parse.urlsplit(url).netloc for url in seen["requests"]} == {address}


def ready(page):
    page.until(f"{STATE} === 'live' && {NAMES}.length > 0")
    page.until("document.querySelectorAll('#topics td.number').length > 0")


@pytest.mark.needs("npm")
def test_the_logic_of_the_page_holds_in_all_its_tables():
    files = sorted(str(path) for path in (PAGE / "tests").glob("*.test.js"))
    assert len(files) >= 4
    ran = subprocess.run(["node", "--test", "--test-reporter=tap", *files], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout
    assert int(re.search(r"^# pass (\d+)$", ran.stdout, re.MULTILINE)[1]) > 80


def test_every_colour_of_the_page_can_be_told_from_what_is_behind_it():
    css = (PAGE / "page.css").read_text()
    found = re.findall(r"--([a-z]+): light-dark\((#[0-9A-F]{6}), (#[0-9A-F]{6})\)", css)
    colours = {name: pair for name, *pair in found}
    texts = {"text", "muted", "good", "client", "network", "server", "error"}
    assert set(colours) == texts | {"page", "panel", "edge", "line"}, "a colour that nobody has judged"
    # Elsewhere there is none: what is not here would not be checked.
    rest = re.sub(r":root \{.*?\}", "", css, count=1, flags=re.DOTALL)
    assert re.findall(r"#[0-9A-Fa-f]{3,8}\b(?=[;\s),])", rest) == []

    def luminance(colour):
        parts = [int(colour[place:place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for theme in (0, 1):
        for behind in ("page", "panel"):
            for name in texts:
                assert contrast(colours[name][theme], colours[behind][theme]) >= 4.5, (name, behind, theme)
            assert contrast(colours["edge"][theme], colours[behind][theme]) >= 3, ("edge", behind, theme)


@NEEDS_BROWSER
def test_the_follower_of_the_benchmark_asks_for_what_the_page_asks_for(browser):
    asked = []
    for ask in (opened_by_chromium, opened_by_the_follower):
        with Fake(scenes.Staged()) as server, ask(browser, server):
            until(lambda: len(server.commands) >= 5, "five topics followed")
            until(lambda: server.paths.count("/api/topics") >= 3, "the topics asked for again and again")
            epochs = {log.epoch for log in server.logs.values()}
            assert all(command.pop("epoch", None) in epochs | {None} for command in server.commands)
            # How much there is to begin behind depends on when it came.
            commands = [{**command, **({"offset": "its end"} if "offset" in command else {})} for command in server.commands]
            # Chromium shows no icon when there is nobody to see it.
            asked.append((set(server.paths) - {"/icon.svg"}, sorted(commands, key=lambda command: command["topic"])))
    assert asked[0] == asked[1]


@contextlib.contextmanager
def opened_by_chromium(browser, server):
    with browser.open(server.http(), width=1440, height=1200) as page:
        ready(page)
        yield


@contextlib.contextmanager
def opened_by_the_follower(_, server):
    command = [sys.executable, PAGE.parents[2] / "bench/page/follower.py", str(server.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert len(json.loads(process.stdout.readline())["followed"]) == 5
        yield
        process.stdin.close()
        assert json.loads(process.stdout.readline())["frames"] > 0
    assert process.returncode == 0


@NEEDS_BROWSER
def test_the_sentence_names_who_is_slow_and_whose_fault_it_is(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440) as page:
        ready(page)
        page.until(f"{SENTENCE}.includes('sensor-2 (client slow, 8.8 s behind), attic (network slow, 0.8 s behind), probe-9 (silent for ')")
        said = page.run(SENTENCE)
        assert said.startswith("8 of 12 clients keep up. 3 do not: "), said
        assert said.endswith("1 cannot be judged: it sends no reports. The server is not the cause."), said
        page.until(f"{CHAIN}[0].includes('on time') && {CHAIN}[1].includes('0.4 ms')")
        assert page.run(CHAIN)[2:] == ["Network ◆ 1 slow", "Clients ▲ 1 slow, ◇ 1 silent"]
        cells = page.run(CELLS)
        assert [row[0] for row in cells[:3]] == ["▲sensor-2", "◆attic", "◇probe-9"]
        assert [row[1:3] for row in cells[:3]] == [["client slow", "8.8 s"], ["network slow", "0.8 s"], ["silent", "-"]]
        assert re.fullmatch(r"[56]\.\d of 2\.0 s arrays", cells[0][3].splitlines()[-1]), cells[0]
        assert cells[2][3].startswith("- no report for "), cells[2]
        check_quiet(page, server.address)


SERVERS = "Array.from(document.querySelectorAll('#servers tr'), (row) => Array.from(row.cells, (cell) => cell.innerText.trim()))"


@NEEDS_BROWSER
def test_with_several_servers_it_is_shown_who_is_where_and_how_far_behind_each_is(browser):
    with Fake(scenes.Fleet()) as server, browser.open(server.http(), width=1440, height=1200) as page:
        ready(page)
        page.until(f"{SERVERS}.length === 3")
        assert [row[:4] for row in page.run(SERVERS)] == [
            ["lapwing-1 this one", "● well", "5", "0"],
            ["lapwing-2", "▲ behind", "6", "1,204 of arrays"],
            ["lapwing-3", "✕ gone for 1 m 2 s", "-", "-"],
        ]
        assert page.run("document.getElementById('servers-note').textContent") == "3 servers, 2 not well"
        # Two clients have the number 1, each on its server.
        page.until(f"{SENTENCE}.includes('8 of 11 clients keep up. 3 do not: sensor-2 (client slow')")
        page.until(f"{SENTENCE}.endsWith('Of 3 servers 1 is behind or cut off, 1 is gone.')")
        cells = page.run(CELLS)
        assert [(row[0], row[-1]) for row in cells[:3]] == [("▲sensor-2", "lapwing-2"), ("◆attic", "lapwing-1"), ("◇probe-9", "lapwing-2")]
        page.until("document.getElementById('events').innerText.includes('lapwing-1 server lapwing-3 is gone: nothing was heard of it for 6 s')")
        page.until("document.getElementById('events').innerText.includes('lapwing-2 sensor-2 is 8.8 s behind')")
        # Its details are its own, and so is what it reported.
        page.run("document.querySelectorAll('#clients-rows .name')[1].click()")
        page.until("document.getElementById('details').innerText.includes('on lapwing-1')")
        assert page.run("document.getElementById('details').innerText.includes('attic')")
        assert page.run("document.querySelectorAll('#details figure').length") == 1
        page.run("document.getElementById('details').close()")
        page.run("(document.getElementById('search').value = 'LAPWING-2', document.getElementById('search').dispatchEvent(new Event('input')), true)")
        page.until(f"{NAMES}.length === 6 && !{NAMES}.includes('attic')")
        check_quiet(page, server.address)


@NEEDS_BROWSER
def test_without_other_servers_nothing_is_said_of_any(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440) as page:
        ready(page)
        assert page.run("[document.getElementById('servers-region').hidden, document.querySelectorAll('#rows .c-server').length > 0]") == [True, True]
        assert page.run("Array.from(document.querySelectorAll('#rows .c-server')).some((cell) => cell.checkVisibility())") is False


@NEEDS_BROWSER
def test_a_slow_source_and_a_late_server_are_told_as_such(browser):
    with Fake(scenes.Stalled()) as server, browser.open(server.http(), width=1440) as page:
        ready(page)
        page.until(f"{CHAIN}.join(' ').includes('Source ○ 2 slow Server ■ 380 ms')")
        page.until(f"{SENTENCE}.includes('The server was up to 380 ms late. 2 sources are slow or have failed.')")
        assert page.run("document.querySelector('#topics tr').cells[1].innerText.trim()") == "○ source slow"


@NEEDS_BROWSER
def test_of_a_thousand_clients_only_those_in_sight_are_in_the_document(browser):
    rows = "document.querySelectorAll('#clients-rows tr.row')"
    with Fake(scenes.Crowd()) as server, browser.open(server.http(), width=1440, height=1000) as page:
        ready(page)
        page.until(f"{SENTENCE}.startsWith('997 of 1,000 clients keep up. 3 do not: ')")
        assert page.run("document.querySelector('#rows table').getAttribute('aria-rowcount')") == "1001"
        assert page.run(f"{rows}.length") < 40
        page.run("document.querySelector('#clients').scrollIntoView()")
        page.run("document.getElementById('rows').scrollTop = 1e6")
        page.until(f"Array.from({rows}).at(-1).getAttribute('aria-rowindex') === '1001'")
        assert page.run(f"{rows}.length") < 40
        # The scrollbar is as long as if all rows were there.
        page.until(f"document.getElementById('rows').scrollHeight >= 1000 * {rows}[0].offsetHeight")
        page.until("document.querySelectorAll('#blocks-body .charts figure').length === 12")
        page.until("document.querySelector('.strip').innerText.includes('988 clients')")
        check_quiet(page, server.address)


@NEEDS_BROWSER
def test_whom_the_page_does_not_list_is_found_by_asking_the_server(browser):
    with Fake(scenes.Many()) as server, browser.open(server.http(), width=1440) as page:
        ready(page)
        page.until("document.getElementById('order').textContent === 'by behind; here are the 1,000 farthest behind, search asks the server for others'")
        assert page.run("document.querySelector('#rows table').getAttribute('aria-rowcount')") == "1001"
        page.press("/")
        page.type("client-1400")
        page.until(f"{NAMES}.join() === 'client-1400'")


@NEEDS_BROWSER
def test_of_many_topics_the_busiest_are_listed_and_any_can_be_shown(browser):
    def followed(server):
        (topics,) = server.followers.values()
        return topics

    with Fake(scenes.ManyTopics()) as server, browser.open(server.http(), width=1440) as page:
        page.until("document.querySelectorAll('#topics tr').length === 20")
        page.until("document.getElementById('topics-more').textContent.startsWith('and 130 more: 130 messages/s')")
        until(lambda: len(followed(server)) == 100, "as many topics followed as may be")
        assert "topic-150" not in followed(server)
        page.run("(document.getElementById('topic').value = 'topic-150', document.getElementById('topic').dispatchEvent(new Event('change')))")
        page.until(f"{LINES}.length > 0 && {LINES}.every((line) => line.includes('topic-150'))")
        assert len(followed(server)) == 100 and "topic-150" in followed(server)
        page.click("#topics-search")
        page.type("-14")
        page.until("document.querySelectorAll('#topics tr').length === 10")
        check_quiet(page, server.address)


@NEEDS_BROWSER
def test_a_topic_of_which_no_lines_are_held_is_asked_for_anew(browser):
    with Fake(scenes.ManyTopics()) as server, browser.open(server.http(), width=1440) as page:
        page.until(f"{LINES}.length > 20")
        until(lambda: server.logs["topic-050"].next > 5, "some messages")
        choose = "(document.getElementById('topic').value = '{0}', document.getElementById('topic').dispatchEvent(new Event('change')), {1}.length)"
        assert page.run(choose.format("topic-050", LINES)) == 0, "of so many topics only some are held"
        offsets = "Array.from(document.querySelectorAll('#messages .offset'), (one) => Number(one.textContent)).reverse()"
        page.until(f"{LINES}.length >= 5 && {LINES}.every((line) => line.includes('topic-050'))")
        seen = page.run(offsets)
        assert seen == list(range(seen[0], seen[0] + len(seen))), "each once, in order"
        assert [command["from"] for command in server.commands if command["topic"] == "topic-050" and command["type"] == "subscribe"] == ["last:20"] * 2
        # What is held is shown at once, and nothing is asked for.
        asked = len(server.commands)
        assert page.run(choose.format("topic-001", LINES)) > 5
        assert len(server.commands) == asked


@NEEDS_BROWSER
def test_a_question_that_is_not_answered_is_asked_again(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http()) as page:
        ready(page)
        before = len(server.paths)
        server.hanging.add("/api/topics")
        until(lambda: server.paths[before:].count("/api/topics") >= 2, "the question asked again")
        page.until("document.getElementById('state').textContent === 'live'")


@NEEDS_BROWSER
def test_the_filter_counts_and_lists_whom_the_sentence_cannot_judge(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440) as page:
        ready(page)
        page.until(f"{SENTENCE}.includes('1 cannot be judged: it sends no reports.')")
        page.until("document.querySelector('#filters button:nth-child(3)').textContent === 'no reports 1'")
        page.click("#filters button:nth-child(3)")
        page.until(f"{NAMES}.join() === 'curl'")


@NEEDS_BROWSER
def test_a_hint_goes_when_something_else_is_done(browser):
    pins = "&".join(f"pin=other-{place}" for place in range(12))
    with Fake(scenes.Staged()) as server, browser.open(server.http(f"/#{pins}"), width=1440) as page:
        ready(page)
        order = "document.getElementById('order').textContent"
        page.press("j")
        page.press("p")
        page.until(f"{order} === '12 are pinned already; unpin one first'")
        page.press("s")
        page.until(f"{order}.startsWith('by block')")


@NEEDS_BROWSER
def test_frames_with_a_thousand_changing_clients(browser, capsys):
    """Measured, not judged: how fast a page scrolls says as much about the machine."""
    with Fake(scenes.Crowd()) as server, browser.open(server.http(), width=1440, height=1000) as page:
        ready(page)
        page.until(f"{NAMES}.length > 10")
        measured = page.run("""new Promise((done) => {
            const [place, times] = [document.getElementById("rows"), []];
            const step = (now) => {
                times.push(now);
                place.scrollTop = (place.scrollTop + 40) % (place.scrollHeight - place.clientHeight);
                if (now - times[0] < 5000) requestAnimationFrame(step);
                else {
                    const took = times.slice(1).map((time, index) => time - times[index]).sort((a, b) => a - b);
                    const at = (part) => Math.round(took[Math.floor(part * (took.length - 1))] * 10) / 10;
                    done({ frames_per_s: Math.round(took.length / 5), p50_ms: at(0.5), p99_ms: at(0.99), most_ms: at(1) });
                }
            };
            requestAnimationFrame(step);
        })""")
        with capsys.disabled():
            print(f"\n1,000 clients that change every second, scrolled for 5 s: {measured}")
        assert measured["frames_per_s"] > 0


@NEEDS_BROWSER
def test_no_row_moves_under_the_pointer_or_the_focus(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440, height=1200) as page:
        ready(page)
        page.hover("#clients-rows tr.row:nth-child(5)")
        page.until("document.getElementById('order').textContent.includes('order held')")
        before = page.run(NAMES)
        last = server.rows[None, 12]
        last.cause, last.behind_ms = "client slow", 99_000.0
        server.tell("row", last)
        server.tell("left", 6)
        page.until("/, [0-9]+ would move/.test(document.getElementById('order').textContent)")
        assert page.run(NAMES) == before
        page.until(f"{CELLS}[4][1] === 'left'")
        page.hover("h1")
        page.until(f"{NAMES}[0] === 'sensor-12' && !{NAMES}.includes('sensor-6')")
        page.press("j")
        page.until("document.activeElement.textContent === 'sensor-12'")
        last.cause, last.behind_ms = "source-limited", 0.0
        server.tell("row", last)
        page.until("document.getElementById('order').textContent.includes('would move')")
        assert page.run("document.activeElement.textContent") == "sensor-12"
        assert page.run(NAMES)[0] == "sensor-12"
        page.press("Escape")
        page.until(f"{NAMES}[0] === 'sensor-2'")


@NEEDS_BROWSER
def test_a_row_that_is_taken_away_takes_the_hold_with_it(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440, height=1200) as page:
        ready(page)
        page.press("j")
        page.press("End")
        page.until("document.activeElement.textContent === 'curl'")
        page.until("document.getElementById('order').textContent.includes('order held')")
        page.press("f")
        page.until(f"{NAMES}.length === 3 && !document.getElementById('order').textContent.includes('order held')")


@NEEDS_BROWSER
def test_hostile_names_and_texts_are_shown_as_text_and_cut(browser):
    with Fake(scenes.Hostile()) as server, browser.open(server.http()) as page:
        ready(page)
        page.until(f"{LINES}.length === {len(scenes.HOSTILE_NAMES) + 1}")
        page.until("document.querySelectorAll('#said li').length > 6 && document.querySelectorAll('#events li').length > 5")
        assert page.run("document.querySelectorAll('main img, main script, main svg, main b').length") == 0
        assert page.run("document.querySelectorAll('script').length") == 2
        longest = "Math.max(...Array.from(document.querySelectorAll('main *'), (one) => one.children.length === 0 ? one.textContent.length : 0))"
        assert page.run(longest) <= 1000
        for text in page.run(f"[...{NAMES}, ...{LINES}]"):
            assert text.isprintable(), text
        assert all(len(name) <= 200 for name in page.run(NAMES))
        page.until(f"{SENTENCE}.includes('and 3 more')")
        labels = "Array.from(document.querySelectorAll('[aria-label]'), (one) => one.getAttribute('aria-label'))"
        page.until(f"{labels}.filter((label) => label.startsWith('Block times of ')).length === {len(scenes.HOSTILE_NAMES)}")
        page.until("document.getElementById('spoken').textContent.includes('and 3 more')")
        for text in (*page.run(labels), page.run("document.getElementById('spoken').textContent")):
            assert text.isprintable(), text
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        page.press("j")
        page.press("Enter")
        page.until("document.getElementById('details').open")
        page.press("Escape")
        check_quiet(page, server.address)


@NEEDS_BROWSER
def test_a_server_that_comes_back_as_another_is_taken_as_such(browser):
    lost = ("WebSocket connection", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET")
    with Fake(scenes.Staged()) as first:
        page = browser.open(first.http(), width=1440)
        ready(page)
        page.until(f"{SENTENCE}.includes('sensor-2')")
        page.press("j")
        page.press("p")
        page.until("location.hash === '#pin=sensor-2'")
        page.press("Escape")
        page.press("j")
        page.press("Enter")
        page.until("document.getElementById('details').open")
        first.stop()
        page.until(f"/^Lost the server [0-9]+ s ago, (next try in [0-9]+ s|trying now)\\. What you see is from \\d\\d:\\d\\d:\\d\\d\\.$/.test({SENTENCE})")
        page.until("document.getElementById('alarm').textContent === 'Lost the server. What you see is old.'")
        page.until(f"{CELLS}[0][0] === '▲sensor-2 pinned' && {CELLS}[0][2] === '-'")
        assert page.run(STATE) == "lost"
        assert page.run("document.querySelector('main').className") == "stale"
        axe_is_content(page)
        with Fake(scenes.Crowd(12), port=first.port) as second:
            page.until(f"{STATE} === 'live' && {SENTENCE}.startsWith('9 of 12 clients keep up. 3 do not: client-0001 ')")
            page.until(f"{NAMES}.length === 12 && {NAMES}.every((name) => name.startsWith('client-'))")
            page.until("!document.getElementById('details').open")
            assert page.run("document.querySelector('main').className") == ""
            assert page.run("document.getElementById('alarm').textContent") == ""
            asked = {command["topic"]: command for command in second.commands}
            for topic in ("users", "arrays", "$reports", "$events"):
                assert asked[topic]["epoch"] == first.logs[topic].epoch, "it asks for where it was"
            assert asked["$clients"]["epoch"] == second.logs["$clients"].epoch, "of clients it reads the new list"
            page.until(f"{LINES}.length > 0")
            # Numbers of another server mean others; what that one retains of them is there.
            page.until("document.querySelectorAll('#blocks-body .charts figure').length === 12")
            charts = "Array.from(document.querySelectorAll('#blocks-body figcaption button'), (one) => one.textContent)"
            page.until(f"{charts}.every((name) => name.startsWith('client-'))")
            page.run("document.querySelector('#blocks-body .charts details').open = true")
            page.until("document.querySelectorAll('#blocks-body .charts td').length > 100")
            check_quiet(page, first.address, lost)
        page.close()


@NEEDS_BROWSER
def test_a_connection_that_is_cut_goes_on_at_its_positions(browser):
    with Fake(scenes.Staged()) as server, Relay(server.port) as way:
        with browser.open(f"http://127.0.0.1:{way.port}/", width=1440) as page:
            ready(page)
            page.until(f"{LINES}.length > 20")
            before = len(server.commands)
            way.cut()
            until(lambda: len(server.commands) >= before + 5, "five topics followed again")
            asked = {command["topic"]: command for command in server.commands[before:]}
            for topic in ("users", "arrays", "$events", "$reports"):
                assert asked[topic]["epoch"] == server.logs[topic].epoch and asked[topic]["offset"] > 0, asked
            page.until(f"{STATE} === 'live'")
            shown = page.run("Array.from(document.querySelectorAll('#messages li'), (line) => line.querySelector('.topic').textContent + line.querySelector('.offset').textContent)")
            assert len(shown) == len(set(shown)), "nothing comes twice"


@NEEDS_BROWSER
def test_a_list_of_clients_that_did_not_come_is_asked_for_again(browser):
    with Fake(scenes.Staged()) as server, Relay(server.port) as way:
        with browser.open(f"http://127.0.0.1:{way.port}/", width=1440) as page:
            ready(page)
            server.failing.add("/api/clients")
            before = len(server.paths)
            way.cut()
            until(lambda: any(path.startswith("/api/clients") for path in server.paths[before:]), "the list asked for, and refused")
            server.tell("left", 1)
            server.failing.clear()
            page.until(f"{STATE} === 'live' && {NAMES}.length > 0 && !{NAMES}.includes('sensor-2')")
            # From then on changes are followed.
            server.tell("left", 2)
            page.until(f"!{NAMES}.includes('attic')")


@NEEDS_BROWSER
def test_a_hidden_tab_follows_nothing_and_goes_on_where_it_was(browser):
    def turn(page, hidden):
        page.run(f"""(Object.defineProperty(document, "hidden", {{ configurable: true, get: () => {str(hidden).lower()} }}),
            document.dispatchEvent(new Event("visibilitychange")), true)""")

    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440) as page:
        ready(page)
        until(lambda: len(server.commands) == 5, "five topics followed")
        turn(page, hidden=True)
        until(lambda: len(server.commands) == 10, "five topics let go")
        assert {command["type"] for command in server.commands[5:]} == {"unsubscribe"}
        assert not any(server.followers.values())
        asked = len([path for path in server.paths if path == "/api/topics"])
        there = server.logs["users"].next
        until(lambda: server.logs["users"].next >= there + 3, "three seconds")
        assert len([path for path in server.paths if path == "/api/topics"]) <= asked + 1
        turn(page, hidden=False)
        until(lambda: len(server.commands) == 15, "five topics followed again")
        again = {command["topic"]: command for command in server.commands[10:]}
        assert again["users"]["epoch"] == server.logs["users"].epoch and again["users"]["offset"] <= there + 1
        page.until(f"{STATE} === 'live' && {LINES}.some((line) => line.includes('users{there + 2}'))")
        page.until("document.querySelector('#delivery-body [role=img]').getAttribute('aria-label').includes('messages a second now')")


@NEEDS_BROWSER
def test_who_may_not_watch_sees_topics_and_messages_and_how_to_be_allowed(browser):
    with Fake(scenes.Stranger()) as server, browser.open(server.http()) as page:
        page.until(f"{SENTENCE}.startsWith(\"Who receives how fast is shown only on the server's own machine, or to a token with the scope admin.\")")
        page.until(f"{LINES}.length >= 2")
        page.until("document.querySelectorAll('#topics tr').length === 2")
        assert page.run("document.getElementById('clients-empty').textContent") == "Shown only to those who may watch."
        assert not any(path.startswith(("/api/clients", "/api/reports")) for path in server.paths), "what is refused is not asked for"
        check_quiet(page, server.address)


@NEEDS_BROWSER
def test_with_nobody_there_the_page_says_how_to_begin(browser):
    with Fake(scenes.Nobody()) as server, browser.open(server.http()) as page:
        page.until(f"{SENTENCE} === 'No clients yet.'")
        page.until("!document.getElementById('start').hidden")
        assert page.run("document.getElementById('command').textContent") == f"lapwing listen ws://{server.address}"
        assert page.run("document.getElementById('clients-empty').textContent") == "No clients yet."
        assert page.run("document.getElementById('rows').hidden")
        page.click("#copy-command")
        page.until("['copied', 'select it and copy'].includes(document.getElementById('copy-command').textContent)")


@NEEDS_BROWSER
def test_a_topic_without_a_message_says_who_fills_it(browser):
    with Fake(scenes.Waiting()) as server, browser.open(server.http()) as page:
        page.until("document.getElementById('messages').textContent === 'Waiting for the first message. It is filled by: lapwing publish orders'")
        page.until("document.querySelector('#topics tr').cells[1].innerText.includes('waiting for the first message')")
        server.tell("message", "orders", {"id": 1})
        page.until(f"{LINES}.length === 1")


@NEEDS_BROWSER
def test_everything_works_by_keys(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440, height=1200) as page:
        ready(page)
        focus = "document.activeElement.textContent"
        for key, wanted in (("j", "sensor-2"), ("j", "attic"), ("k", "sensor-2"), ("ArrowDown", "attic"), ("End", "curl"), ("Home", "sensor-2")):
            page.press(key)
            page.until(f"{focus} === {json.dumps(wanted)}")
        page.press("p")
        page.until("location.hash === '#pin=sensor-2'")
        page.press("p")
        page.until("location.hash === ''")
        page.press("Enter")
        page.until("document.getElementById('details').open")
        page.until("document.getElementById('details-title').innerText === 'sensor-2 ▲ client slow, 8.8 s behind'")
        page.press("j")
        page.press("Escape")
        page.until(f"!document.getElementById('details').open && {focus} === 'sensor-2'")
        page.press("f")
        page.until(f"{NAMES}.length === 3 && location.hash === '#filter=slow'")
        page.press("f")
        page.press("s")
        page.until("location.hash === '#sort=block'")
        page.press("m")
        page.until("document.getElementById('pause').getAttribute('aria-pressed') === 'true'")
        page.press("t")
        page.until("getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 26)'")
        page.press("/")
        page.until("document.activeElement.id === 'search'")
        page.type("mtfs?")
        page.until("location.hash === '#search=mtfs%3F&sort=block'")
        page.until("document.getElementById('clients-empty').textContent === 'No client has \"mtfs?\" in its name or address.'")
        assert page.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true", "who types presses no keys"
        page.press("Escape")
        page.press("?")
        page.until("document.getElementById('keys').open")
        page.click("#keys-off")
        page.press("Escape")
        page.press("m")
        page.press("?")
        assert not page.run("document.getElementById('keys').open")
        assert page.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
        check_quiet(page, server.address)


@NEEDS_BROWSER
def test_the_address_keeps_what_was_asked_for(browser):
    with Fake(scenes.Staged()) as server:
        with browser.open(server.http("/#search=sensor&filter=slow&sort=-name&pin=sensor-5"), width=1440) as page:
            page.until(f"{NAMES}.join() === 'sensor-2'")
            assert page.run("document.getElementById('search').value") == "sensor"
            page.click("#filters button:first-child")
            page.until(f"{NAMES}[0] === 'sensor-9' && {NAMES}.length === 9")
            page.until("document.querySelector('#blocks-body figure').innerText.startsWith('●\\nsensor-5 arrays\\npinned')")


@NEEDS_BROWSER
def test_the_details_say_all_that_is_known_and_give_it_as_json(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440, height=1200) as page:
        ready(page)
        page.click("#clients-rows tr.row:nth-child(1)")
        text = "document.getElementById('details').innerText"
        page.until(f"{text}.includes('drift by report')")
        said = page.run(text)
        for part in ("We sent in time and the network took it; the client reads late.", "127.0.0.1:40001", "sent to 104, lag 0; reported 84, ", "8.8 s ± 0.1 ms", "as table"):
            assert part in said, said
        page.run("document.querySelector('#details details').open = true")
        page.until("document.querySelectorAll('#details details td').length > 20")
        page.run("navigator.clipboard.writeText = () => Promise.reject(new Error('not here'))")
        page.click("#details .tools button:nth-child(2)")
        page.until("document.querySelector('#details textarea')")
        assert json.loads(page.run("document.querySelector('#details textarea').value"))["client"] == "sensor-2"
        server.tell("left", 1)
        page.until("document.getElementById('details-title').innerText.endsWith('it has left')")
        axe_is_content(page)


@NEEDS_BROWSER
def test_a_screen_reader_hears_at_most_one_sentence_in_ten_seconds(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=1440) as page:
        ready(page)
        page.run("""(window.heard = [], new MutationObserver(() => heard.push([performance.now(), document.getElementById("spoken").textContent]))
            .observe(document.getElementById("spoken"), { childList: true }), true)""")

        def flap():
            client = server.rows[5]
            client.cause = "client slow" if client.cause == "source-limited" else "source-limited"
            server.tell("row", client)
            return page.run("heard.length") >= 2

        until(flap, "two sentences")
        (first, _), (second, said) = page.run("heard")[:2]
        assert second - first >= 9_900, (first, second)
        assert "before this.)" in said, said
        for name in ("messages", "events", "said"):
            assert page.run(f"document.getElementById('{name}').getAttribute('aria-live')") == "off"


@NEEDS_BROWSER
def test_a_theme_is_remembered_only_when_it_was_chosen(browser):
    with Fake(scenes.Nobody()) as server, browser.open(server.http()) as page:
        page.until(f"{STATE} === 'live'")
        assert page.run("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        page.click("#theme")
        page.until("getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 26)'")
        page.reload()
        page.until(f"{STATE} === 'live' && getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 26)'")


def axe_is_content(page):
    found = page.axe()
    assert [one for one in found if one["impact"] in ("serious", "critical")] == [], found


# What is wider than its place without saying so by an ellipsis, and what stands empty.
CLIPPED = """Array.from(document.querySelectorAll("main button, main p, main th, main td, main h2, main figcaption, main li, main select"))
    .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).textOverflow !== "ellipsis" && one.clientWidth > 1
        && getComputedStyle(one).display !== "inline").map((one) => one.outerHTML.slice(0, 200))"""
EMPTY = "Array.from(document.querySelectorAll('section .body')).filter((one) => !one.hidden && one.innerText.trim() === '').map((one) => one.id)"


# What has most on it in all forms, the others in the two that differ most.
FORMS = [("Staged", width, dark) for width in (360, 800, 1440) for dark in (False, True)] + [
    (scene, width, dark) for scene in ("Crowd", "Hostile", "Nobody", "Stranger", "Waiting", "Stalled") for width, dark in ((360, True), (800, False))
] + [("Fleet", width, dark) for width, dark in ((360, True), (800, False), (1440, False), (1440, True))]


@NEEDS_BROWSER
@pytest.mark.parametrize(("scene", "width", "dark"), FORMS)
def test_nothing_is_clipped_or_empty_and_axe_finds_nothing_serious(browser, tmp_path, scene, width, dark):
    with Fake(getattr(scenes, scene)()) as server:
        with browser.open(server.http(), width=width, height=900, dark=dark, touch=width < 600) as page:
            page.until(f"{STATE} === 'live' && document.querySelectorAll('#topics td.number').length > 0")
            page.until(f"!{SENTENCE}.startsWith('Connecting') && !{SENTENCE}.startsWith('Waiting')")
            page.until("document.querySelector('#delivery-body [role=img]').getAttribute('aria-label').includes('messages a second now')")
            if server.scene.may_watch and server.scene.clients():
                page.until(f"{NAMES}.length > 2 && document.querySelectorAll('#blocks-body figure').length > 1")
            folder = pathlib.Path(SHOTS or tmp_path)
            folder.mkdir(parents=True, exist_ok=True)
            page.shot(folder / f"{scene.lower()}-{width}-{'dark' if dark else 'light'}.png", whole=True)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"
            assert page.run(CLIPPED) == []
            assert page.run(EMPTY) == []
            axe_is_content(page)
            check_quiet(page, server.address)


@NEEDS_BROWSER
def test_on_a_touch_screen_what_is_touched_is_large_enough(browser):
    with Fake(scenes.Staged()) as server, browser.open(server.http(), width=360, touch=True) as page:
        ready(page)
        small = """Array.from(document.querySelectorAll("main button:not(.plain):not(.name), main select, main input, #clients-rows tr.row"))
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 44).map((one) => one.outerHTML.slice(0, 100))"""
        assert page.run(small) == []


def test_the_scenes_and_the_page_know_the_same_causes():
    known = re.findall(r'^  \["([a-z -]+)", \{ mark:', (PAGE / "logic/cause.js").read_text(), re.MULTILINE)
    assert sorted(known) == sorted(scenes.CAUSES) == sorted(example("/api/clients")["counts"])


def example(path):
    """What PROTOCOL.md shows as the answer of a path."""
    protocol = (PAGE.parents[2] / "PROTOCOL.md").read_text()
    return json.loads(re.search(rf"### `{path}`.*?```json\n(.*?)```", protocol, re.DOTALL)[1])


def keys(value):
    """The keys of objects within objects and lists."""
    match value:
        case dict():
            return {key: keys(inner) for key, inner in value.items() if key != "counts"}
        case [first, *_]:
            return [keys(first)]
        case _:
            return None


@pytest.mark.parametrize("path", ["/api/topics", "/api/clients", "/api/servers"])
def test_what_the_fake_tells_is_what_the_protocol_says(path):
    scene = scenes.Fleet() if path == "/api/servers" else scenes.Staged()
    with Fake(scene) as server, urllib.request.urlopen(server.http(path), timeout=30) as answer:
        assert keys(json.load(answer)) == keys(example(path))


@pytest.mark.parametrize("path", ["/api/topics", "/api/clients", "/api/reports", "/api/servers"])
@pytest.mark.parametrize("scene", [scenes.Staged, scenes.Fleet, scenes.Crowd, scenes.Hostile, scenes.Waiting])
def test_what_the_fake_tells_is_as_it_is_described(path, scene):
    document = json.loads((PAGE.parents[2] / "docs/openapi.json").read_text())
    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    with Fake(scene()) as server, urllib.request.urlopen(server.http(path), timeout=30) as answer:
        Draft202012Validator({**schema, "components": document["components"]}).validate(json.load(answer))


def sources(folder):
    """The page's own modules, by name, without their comments."""
    found = {path.name: re.sub(r"(?m)^\s*//.*$", "", path.read_text()) for path in (PAGE / folder).glob("*.js")}
    assert found
    return found


def test_the_logic_of_the_page_knows_no_document_clock_network_or_chance():
    for name, text in sources("logic").items():
        for forbidden in ("document", "window", "location", "localStorage", "Date.now", "new Date()", "performance", "Math.random", "fetch(", "WebSocket", "setTimeout", "../view"):
            assert not re.search(rf"(?<![\w.]){re.escape(forbidden)}", text), f"{name} has {forbidden}"


def test_nothing_in_the_page_makes_markup_of_text():
    for name, text in (sources("logic") | sources("view") | sources(".")).items():
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment", "setHTML", "eval(", "new Function", "javascript:"):
            assert forbidden not in text, f"{name} has {forbidden}"
