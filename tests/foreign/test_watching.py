"""The page, and the program itself with clients of its own and of others: what the page says is what happens."""

import contextlib
import hashlib
import json
import re
import signal
import urllib.request

import pytest
from websockets.sync.client import connect

from fake import PAGE
from program import Program, Server
from reader import Reader
from scenes import HOSTILE_NAMES, WHY
from stage import staged
from test_dashboard import CELLS, CHAIN, CLIPPED, EMPTY, LINES, NAMES, SENTENCE, STATE, axe_is_content, check_quiet

pytestmark = pytest.mark.needs("chromium")

FEED = ("--topic", "feed=arrays?every=250ms&burst=1&keep=1h")
LISTED = "Array.from(document.querySelectorAll('#events li:not(.empty)'), (line) => line.innerText)"
SAID = "Array.from(document.querySelectorAll('#said li:not(.empty)'), (line) => line.textContent)"
DETAILS = "document.getElementById('details').innerText"
CHARTS = "Array.from(document.querySelectorAll('#blocks-body .charts figure'), (one) => one.innerText)"
LOST = ("WebSocket connection", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
HOSTILE_REASON = '"><img src=x onerror=alert(9)>\u202e'


def listening(server, name, *more):
    """A `lapwing listen` of this name; blocks of four are a second."""
    return Program("listen", f"ws://{server.address}", "--name", name, "--block", "4", "--quiet", *more)


def told(server, path):
    with urllib.request.urlopen(server.http(path), timeout=30) as answer:
        return json.load(answer)


def cell(name, column):
    """What stands in a column of a client's row, without its bar, as an expression."""
    return f"({CELLS}.find((cells) => cells[0].slice(1) === {json.dumps(name)})?.[{column}] ?? '').split('\\n').at(-1)"


def watched(browser, server, **how):
    page = browser.open(server.http(), **{"width": 1440, "height": 1200, **how})
    page.until(f"{STATE} === 'live' && document.querySelectorAll('#topics td.number').length > 0")
    return page


def test_a_listener_that_joins_appears_with_its_block_times_and_goes_when_it_leaves(browser):
    with Server(*FEED) as server, watched(browser, server) as page:
        page.until(f"{SENTENCE} === 'No clients yet.'")
        with listening(server, "sensor-1") as listener:
            page.until(f"{NAMES}.join() === 'sensor-1'")
            page.until(f"{cell('sensor-1', 1)} === 'source-limited' && {SENTENCE}.startsWith('The one client keeps up.')")
            page.until(f"/^[01]\\.\\d of 1\\.0 s feed$/.test({cell('sensor-1', 3)})")
            page.until(f"{CHARTS}.length === 1 && {CHARTS}[0].includes('sensor-1') && {CHARTS}[0].includes(' of 1.0 s')")
            page.until(f"{LISTED}.some((line) => /join sensor-1 joined from 127\\.0\\.0\\.1:\\d+ \\(lapwing\\.v1\\): feed \\d+$/.test(line))")
            row = told(server, "/api/clients?search=sensor-1")["rows"][0]
            assert row["cause"] == "source-limited"
            assert page.run(cell("sensor-1", 0) + "[0]") == "●"
            assert listener.stop() == 0
        page.until(f"{SENTENCE} === 'No clients yet.' && document.getElementById('rows').hidden")
        page.until(f"{LISTED}.some((line) => /left sensor-1 left after [\\d.]+ s: 1000, /.test(line))")
        check_quiet(page, server.address)


def test_who_reads_late_is_marked_after_two_blocks_as_on_the_console_and_until_it_keeps_up(browser):
    with contextlib.ExitStack() as those:
        server = those.enter_context(Server(*FEED))
        page = those.enter_context(watched(browser, server))
        those.enter_context(listening(server, "quick"))
        # A block is made in 1 s, and read in 3 s.
        tired = those.enter_context(Reader(server, "feed", "tired", pause_s=0.75))
        page.until(f"{cell('tired', 1)} === 'client slow' && {cell('quick', 1)} === 'source-limited'")
        event = server.object(event="slow", client="tired")
        assert (event["cause"], event["blocks"]) == ("client slow", 2)
        reports = [json.loads(line) for line in list(server.out) if '"event":"report"' in line and '"client":"tired"' in line]
        late = [report for report in reports if (report["drift_ms"] or 0) > 50]
        assert late[1]["cause"] == "client slow" and late[0]["cause"] != "client slow", "from the second one on"
        page.until(f"/^1 of 2 clients keeps up\\. 1 does not: tired \\(client slow, \\d+\\.\\d s behind\\)\\. The server is not the cause\\.$/.test({SENTENCE})")
        assert page.run(CHAIN)[2:] == ["Network ● clear", "Clients ▲ 1 slow"]
        assert page.run(NAMES)[0] == "tired", "who is the farthest behind stands on top"
        assert page.run(cell("tired", 0)) == "▲tired"
        page.until(f"/^[23]\\.\\d of 1\\.0 s feed$/.test({cell('tired', 3)})")
        why = page.run("document.querySelector('#clients-rows tr.row .c-cause').title")
        assert why == told(server, "/api/clients?cause=client+slow")["rows"][0]["why"]
        page.until(f"{LISTED}.some((line) => /slow tired is \\d+\\.\\d s behind on feed after 2 blocks: client slow$/.test(line))")
        page.click("#clients-rows tr.row")
        page.until(f"{DETAILS}.includes('drift by report') && {DETAILS}.includes({json.dumps(why)}) && {DETAILS}.includes('one-way')")
        page.press("Escape")
        tired.pause_s = 0.0
        page.until(f"{cell('tired', 1)} === 'source-limited' && {SENTENCE}.startsWith('All 2 clients keep up.')")
        page.until(f"{LISTED}.some((line) => line.includes('tired keeps up with feed again'))")
        check_quiet(page, server.address)


def test_who_is_farther_behind_than_is_kept_has_a_block_time_with_nothing_to_compare_it_with(browser):
    with Server("--topic", "feed=arrays?every=250ms&burst=1&keep=10s") as server, watched(browser, server) as page:
        with Reader(server, "feed", "tired", pause_s=0.75):
            page.until(f"{cell('tired', 1)} === 'client slow' && /^[23]\\.\\d of 1\\.0 s feed$/.test({cell('tired', 3)})")
            page.until(f"/^[23]\\.\\d s of - \\(not kept\\) feed$/.test({cell('tired', 3)}) && {cell('tired', 1)} === 'client slow'")
            check_quiet(page, server.address)


def test_who_is_stopped_is_silent_and_gone_when_its_ping_stays_unanswered(browser):
    with Server(*FEED, "--ping-interval", "2s") as server, watched(browser, server) as page, listening(server, "probe") as probe:
        page.until(f"{cell('probe', 1)} === 'source-limited'")
        probe.send_signal(signal.SIGSTOP)
        page.until(f"{cell('probe', 1)} === 'silent' && {cell('probe', 2)} === '-'")
        page.until(f"/^- no report for \\d+ s$/.test({cell('probe', 3)})")
        page.until(f"/^The one client does not keep up: probe \\(silent for \\d+ s\\)\\./.test({SENTENCE})")
        page.until(f"{LISTED}.some((line) => /slow probe is silent on feed: no report for \\d+ s, no answer to a ping$/.test(line))")
        page.until(f"{SENTENCE} === 'No clients yet.'")
        page.until(f"{LISTED}.some((line) => /left probe left after .*: 4408, /.test(line))")
        check_quiet(page, server.address)


def test_names_words_and_reasons_from_outside_are_shown_as_text(browser):
    with contextlib.ExitStack() as those:
        server = those.enter_context(Server(*FEED))
        page = those.enter_context(watched(browser, server))
        readers = [those.enter_context(Reader(server, "feed", name)) for name in HOSTILE_NAMES]
        page.until(f"{NAMES}.length === {len(HOSTILE_NAMES)}")
        for reader, name in zip(readers, HOSTILE_NAMES, strict=True):
            reader.say(name)
        readers[0].say("B" * 60_000)
        page.until(f"{SAID}.length === {len(HOSTILE_NAMES) + 1}")
        readers[-1].close(4000, HOSTILE_REASON)
        page.until(f"{LISTED}.some((line) => line.includes('4000, ') && line.includes('alert(9)'))")
        for text in page.run(f"[...{NAMES}, ...{SAID}, ...{LISTED}.map((line) => line.replaceAll('\\n', ' ')), {SENTENCE}]"):
            assert text.isprintable() and len(text) < 1200, text
        assert page.run("document.querySelectorAll('main img, main script, main svg, main b').length") == 0
        assert page.run("document.querySelectorAll('script').length") == 2
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        check_quiet(page, server.address)


def test_a_server_that_was_killed_is_another_history_and_its_clients_are_those_that_came_back(browser):
    with contextlib.ExitStack() as those:
        first = those.enter_context(Server(*FEED))
        page = those.enter_context(watched(browser, first))
        those.enter_context(listening(first, "sensor-1"))
        gone = those.enter_context(listening(first, "sensor-2"))
        page.until(f"{NAMES}.length === 2 && {CHARTS}.length === 2")
        first.send_signal(signal.SIGKILL)
        first.wait()
        page.until(f"{SENTENCE}.startsWith('Lost the server ') && {cell('sensor-1', 2)} === '-'")
        gone.send_signal(signal.SIGKILL)
        second = those.enter_context(Server(*FEED, port=first.port))
        page.until(f"{STATE} === 'live' && {NAMES}.join() === 'sensor-1'")
        page.until(f"{SENTENCE}.startsWith('The one client keeps up.')")
        page.until(f"{CHARTS}.length === 1 && {CHARTS}[0].includes('sensor-1')")
        page.until(f"{LISTED}.some((line) => line.includes('ready on {second.address}'))")
        # What there is now begins anew; nothing of it comes twice.
        shown = page.run("Array.from(document.querySelectorAll('#messages li .offset'), (one) => Number(one.textContent))")
        again = shown.index(0) + 1
        assert shown[:again] == list(range(again - 1, -1, -1)), shown
        assert page.run("document.querySelector('main').className") == ""
        check_quiet(page, first.address, LOST)


def test_a_server_that_keeps_its_topics_goes_on_where_the_page_was(browser, tmp_path):
    kept = ("--data", str(tmp_path / "data"), "--durability", "os", "--topic", "orders=push")
    with Server(*kept) as first, watched(browser, first) as page:
        first.publish("orders", *range(30))
        page.until(f"{LINES}.length === 30")
        first.send_signal(signal.SIGKILL)
        first.wait()
        with Server(*kept, port=first.port) as second:
            second.publish("orders", "while it was away")
            page.until(f"{STATE} === 'live' && {LINES}.length === 31")
            assert page.run("Number(document.querySelector('#messages li .offset').textContent)") == 30
            check_quiet(page, first.address, LOST)


def test_a_second_page_is_a_client_of_the_first_that_cannot_be_judged(browser):
    with Server(*FEED) as server, watched(browser, server) as first, listening(server, "sensor-1"):
        first.until(f"{SENTENCE}.startsWith('The one client keeps up.')")
        with watched(browser, server) as second:
            for page in (first, second):
                page.until(f"{NAMES}.length === 2 && {NAMES}.includes('page') && {cell('page', 1)} === 'unclear'")
                page.until(f"{SENTENCE}.startsWith('1 of 2 clients keeps up. 1 cannot be judged: it sends no reports.')")
                page.until(f"{CHAIN}[3] === 'Clients ● 1 of 2 known to keep up'")
        first.until(f"{NAMES}.join() === 'sensor-1' && {SENTENCE}.startsWith('The one client keeps up.')")
        check_quiet(first, server.address)


def test_with_a_token_the_page_shows_what_the_token_may_see(browser, tmp_path):
    def line(name, token, scopes):
        return f"{name} {hashlib.sha256(token.encode()).hexdigest()} {scopes}\n"

    def enter(page, token):
        page.until("!document.getElementById('gate').hidden")
        page.run(f"document.getElementById('token').value = '{token}'")
        page.click("#enter")
        page.until(f"{STATE} === 'live'")

    reader, admin = "lapwing_reader", "lapwing_admin"
    (tmp_path / "reader.token").write_text(reader)
    (tmp_path / "tokens").write_text(line("dashboard", reader, "listen:feed") + line("ops", admin, "listen:feed,admin"))
    refused = ("401 (Unauthorized)", "WebSocket connection")
    with contextlib.ExitStack() as those:
        server = those.enter_context(Server(*FEED, "--topic", "hidden=push", "--tokens", str(tmp_path / "tokens")))
        those.enter_context(listening(server, "sensor-1", "--token-file", str(tmp_path / "reader.token")))
        with browser.open(server.http()) as page:
            enter(page, reader)
            page.until(f"{SENTENCE}.startsWith(\"Who receives how fast is shown only on the server's own machine, or to a token with the scope admin. Topics and messages are live.\")")
            page.until(f"{LINES}.length > 2 && document.querySelectorAll('#topics tr').length === 1")
            for place in ("clients-empty", "events", "said"):
                page.until(f"document.getElementById('{place}').textContent === 'Shown only to those who may watch.'")
            check_quiet(page, server.address, refused)
            assert not any("/api/clients" in url or "/api/reports" in url for url in page.seen["requests"])
        with browser.open(server.http()) as page:
            enter(page, admin)
            page.until(f"{NAMES}.includes('sensor-1') && {cell('sensor-1', 1)} === 'source-limited'")
            page.until(f"{CHARTS}.some((text) => text.includes('sensor-1'))")
            page.click("#clients-rows tr.row")
            page.until(f"{DETAILS}.includes('token of dashboard')")
            check_quiet(page, server.address, refused)


def test_clients_of_other_kinds_are_listed_with_how_they_speak(browser):
    with contextlib.ExitStack() as those:
        server = those.enter_context(Server(*FEED))
        page = those.enter_context(watched(browser, server))
        stream = those.enter_context(urllib.request.urlopen(server.http("/topics/feed/events?name=reader"), timeout=30))
        assert stream.readline()
        plain = those.enter_context(connect(server.ws("?name=plain")))
        plain.send("hello")
        page.until(f"{NAMES}.length === 2 && {SENTENCE} === '2 clients. They cannot be judged: they send no reports.'")
        page.until(f"{SAID}.some((line) => line.endsWith('plain: \"hello\"'))")
        modes = {row["client"]: row["mode"] for row in told(server, "/api/clients")["rows"]}
        for name in ("reader", "plain"):
            page.until(f"{cell(name, 1)} === 'unclear' && {cell(name, 3)} === '- no reports'")
            page.run(f"Array.from(document.querySelectorAll('#clients-rows tr.row')).find((row) => row.querySelector('.name').textContent === '{name}').click()")
            page.until(f"{DETAILS}.includes('no report yet')")
            said = page.run(DETAILS)
            assert modes[name] in said and "undefined" not in said and "NaN" not in said, said
            page.press("Escape")
        assert (modes["reader"], modes["plain"]) == ("events", "plain")
        check_quiet(page, server.address)


@pytest.mark.parametrize(("number", "words"), [(signal.SIGTERM, "restarts"), (signal.SIGINT, "stop")])
def test_a_server_that_stops_has_said_so(browser, number, words):
    with Server(*FEED) as server, watched(browser, server) as page:
        page.until(f"{SENTENCE} === 'No clients yet.'")
        assert server.stop(number) == 0
        page.until(f"/^The server said that it stops \\(.*{words}.*\\) \\d+ s ago, (next try in \\d+ s|trying now)\\. What you see is from \\d\\d:\\d\\d:\\d\\d\\.$/.test({SENTENCE})")
        page.until("document.getElementById('alarm').textContent === 'The server stops. What you see is old.'")
        check_quiet(page, server.address, LOST)


def test_with_clients_of_every_kind_nothing_is_clipped_empty_or_without_a_word(browser):
    cells = "Array.from(document.querySelectorAll('#clients-rows td')).filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)"
    # A person's data may well have a null.
    ours = "['header', '#verdict', '.pair', '#clients', '#blocks-body', '#events', '#said'].map((one) => document.querySelector(one).innerText).join()"
    with staged(times=4) as (server, stand_still), watched(browser, server) as page:
        page.until(f"{CHARTS}.some((text) => text.includes('probe-9') && text.includes(' of '))")
        stand_still()
        page.until(f"{SENTENCE}.startsWith('3 of 6 clients keep up. 2 do not: sensor-2 (client slow, ') && {cell('probe-9', 1)} === 'silent'")
        page.until(f"{NAMES}.slice(0, 2).join() === 'sensor-2,probe-9' && {CHARTS}.length === 5")
        page.until("document.querySelector('#delivery-body [role=img]').getAttribute('aria-label').includes('messages a second now')")
        page.until(f"{CHARTS}.some((text) => text.includes('silent, last '))")
        for width in (360, 800, 1440):
            for dark in (False, True):
                page.look(width, 900, dark)
                page.until("document.documentElement.scrollWidth <= innerWidth")
                page.until(f"{cells}.length === 0 && {CLIPPED}.length === 0 && {EMPTY}.length === 0")
                assert not re.search(r"undefined|NaN|null|Infinity|\[object", page.run(ours))
        axe_is_content(page)
        check_quiet(page, server.address)


def test_page_and_program_give_the_same_reasons():
    source = (PAGE.parent / "src/server/cause.rs").read_text()
    sentences = set(re.findall(r'Self::\w+ => "([A-Z][^"]*\.)"', source))
    assert len(sentences) == 7
    shown = dict(re.findall(r'\["([a-z -]+)", \{ mark: "[^"]*", colour: "\w+", why: "([^"]*)"', (PAGE / "logic/cause.js").read_text()))
    assert shown == WHY
    assert set(WHY.values()) < sentences, "one cause is known in two ways"
