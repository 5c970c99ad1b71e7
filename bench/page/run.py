#!/usr/bin/env python3
"""Does an open page cost the feed anything?

COUNT clients (1,000) of `lapwing bench` receive RATE messages of 250 bytes a second (20), which it publishes, beside ten `lapwing listen`
that report their blocks. Meanwhile, in turn: nobody watches; a program asks for all that a page asks for, reads it and shows nothing
(`follower.py`); twenty of those, whose cost a page is a twentieth of what they cost; a page is open in headless Chromium; and nobody watches
again. So what a page asks of the server is told apart from what a browser costs the machine, and both from how much two times of the same differ.
A round is one server and one load. Who comes between both times of nobody goes in another order each round, and a server that was asked for
its clients looks at them for half a minute longer: that is waited for.

Prints the p99 of the latency, counted from the intended moment (the median of the seconds' p99), and the server's own CPU time for a second;
and for each kind of page, round by round, what they are against the mean of both times without. Where that spread has 1 within it,
it is not distinguishable from none.

The server has the first core, the load the last. Followers, listeners and Chromium share the last with the load, behind it: started as
`chrt -f 5 bench/page/run.py`, server and load have their cores before all others, whatever else the machine does, and those have what is left.
What the load says of itself as the bottleneck is told. Takes what scripts/test has installed; without Chromium, the rest.

  bench/page/run.py [SECONDS EACH] [ROUNDS] [COUNT] [RATE]
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from lapwing_bench import ROOT, Others, behind, binary, cores, free_port, machine, pinned, stop, wait_for_port  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/foreign"))
from browser import Browser  # noqa: E402

CACHE = pathlib.Path(os.environ.get("LAPWING_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lapwing")
NOBODY, ASKED, TWENTY, OPEN, AGAIN = "nobody watches", "a page is asked for", "20 pages are", "a page is open", "nobody again"
FOLLOWERS = {ASKED: 1, TWENTY: 20}
REPORTERS = 10
# Of whoever shares a core with the load.
NICENESS = 10
# For so long a server looks at its clients after somebody asked for them (`ASKED_FOR` in `server/watch.rs`), and a little longer.
FORGOTTEN_S = 32
# What comes with a change of windows is over by then.
SETTLED_S = 1.5
# A second of the load's timeline counts when it lies that far inside a window.
MARGIN_S = 0.2


def chromium():
    """Chromium and the folder of playwright-core, or nothing."""
    found = os.environ.get("LAPWING_CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    modules = os.environ.get("LAPWING_NPM") or next((str(path.parent) for path in CACHE.glob("npm-*/node_modules/playwright-core")), None)
    return (found, modules) if found and modules else None


def cpu_seconds(process):
    """Time of all its threads on a core so far."""
    tasks = pathlib.Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def family():
    """This process and all that come from it."""
    parents = {}
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = {os.getpid()}
    while fresh := {process for process, parent in parents.items() if parent in found} - found:
        found |= fresh
    return found


def listeners(running, port, places):
    """Clients that report their blocks, on the load's core."""
    for number in range(REPORTERS):
        process = subprocess.Popen(
            [binary(), "listen", f"ws://127.0.0.1:{port}", "--name", f"sensor-{number}", "--quiet"],
            preexec_fn=behind(places.load, NICENESS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.callback(stop, process)


@contextlib.contextmanager
def followers(count, port, places):
    """So many followers, each of which has everything; gives where what they tell at their end is put."""
    told = []
    with contextlib.ExitStack() as running:
        processes = []
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, HERE / "follower.py", str(port)], preexec_fn=behind(places.load, NICENESS), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.callback(stop, process)
            processes.append(process)
        if not all([process.stdout.readline() for process in processes]):
            sys.exit("a follower failed")
        yield told
        for process in processes:
            process.stdin.close()
        told += [json.loads(process.stdout.readline() or "null") or sys.exit("a follower failed") for process in processes]


@contextlib.contextmanager
def opened(browser, port, count):
    """A page that shows all clients."""
    with browser.open(f"http://127.0.0.1:{port}/", width=1440, height=1000) as page:
        page.until(f"document.getElementById('filters').innerText.includes('all {count:,}')")
        yield []
        if page.run("document.querySelectorAll('#clients-rows tr.row').length") == 0:
            sys.exit("the page lists no clients")


class Window:
    """What was measured while one case held."""

    def __init__(self, case, began, ended, cpu, others, read):
        self.case, self.began, self.ended, self.cpu, self.others, self.read = case, began, ended, cpu, others, read
        self.p99 = None

    def time(self, timeline, began):
        """Takes its seconds of the load's timeline, which began then."""
        inside = [second["p99_ms"] for second in timeline if second["p99_ms"] is not None
                  and self.began + MARGIN_S <= began + second["at_s"] and began + second["at_s"] + 1 <= self.ended - MARGIN_S]
        if not inside:
            sys.exit("no second of the load lies within a window: measure for longer")
        self.p99 = statistics.median(inside)


def measure(server, case, pages, seconds):
    """One window with these pages."""
    with pages as read:
        time.sleep(SETTLED_S)
        others, before, began = Others(family()), cpu_seconds(server), time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
        window = Window(case, began, ended, (cpu_seconds(server) - before) / (ended - began), others.share(), read)
    return window


def run(browser, places, seconds, count, rate, between):
    """One round: its windows, and the load's word on itself."""
    port = free_port()
    with contextlib.ExitStack() as running:
        server = subprocess.Popen(
            [binary(), "serve", "--listen", f"127.0.0.1:{port}", "--topic", "feed=push", "--json"],
            preexec_fn=pinned(places.server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.callback(stop, server)
        wait_for_port(port, server)
        listeners(running, port, places)
        began = time.monotonic()
        load = subprocess.Popen(
            [binary(), "bench", f"ws://127.0.0.1:{port}", "--clients", str(count), "--publish", "feed", "--rate", f"{rate:g}", "--size", "250",
             "--for", "1h", "--warm-up", "3s", "--threads", "1", "--json"],
            preexec_fn=pinned(places.load), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.callback(stop, load)
        # Behind the connects.
        time.sleep(4)
        windows = [measure(server, NOBODY, contextlib.nullcontext([]), seconds)]
        for case in between:
            pages = opened(browser, port, count + REPORTERS) if case == OPEN else followers(FOLLOWERS[case], port, places)
            windows.append(measure(server, case, pages, seconds))
        time.sleep(FORGOTTEN_S)
        windows.append(measure(server, AGAIN, contextlib.nullcontext([]), seconds))
        load.send_signal(signal.SIGINT)
        printed, complaint = load.communicate(timeout=60)
        if load.returncode != 0:
            sys.exit(f"the load ended with {load.returncode}: {complaint or json.loads(printed)['why']}")
    told = json.loads(printed)
    for window in windows:
        window.time(told["timeline"], began)
    return windows, told


def shown(name, unit, found):
    """One figure of all windows: of each case, and of each kind of page against none."""
    for case, values in found.items():
        print(f"{name:<20} {case:<20} median {statistics.median(values):7.2f}  ({min(values):.2f}-{max(values):.2f})")
    without = [statistics.mean(pair) for pair in zip(found[NOBODY], found[AGAIN])]
    pairs = [(case, "nobody", without) for case in found if case not in (NOBODY, AGAIN)] + [(AGAIN, NOBODY, found[NOBODY])]
    for case, against, others in pairs:
        ratios = [one / other for one, other in zip(found[case], others)]
        more = [(one - other) / FOLLOWERS.get(case, 1) for one, other in zip(found[case], others)]
        word = "too few rounds to tell" if len(ratios) < 3 else "not distinguishable" if min(ratios) <= 1 <= max(ratios) else "distinguishable"
        each = " a page" if case in FOLLOWERS or case == OPEN else ""
        print(f"{name:<20} {case} against {against}: {statistics.median(ratios):.2f}  ({min(ratios):.2f}-{max(ratios):.2f}), {word}; "
              f"{statistics.median(more):+.3f} {unit}{each}  ({min(more):+.3f} to {max(more):+.3f})")


def main():
    seconds, rounds, count, rate = (float(given) for given in (sys.argv[1:] + [6, 5, 1000, 20][len(sys.argv) - 1:])[:4])
    rounds, count = int(rounds), int(count)
    places, programs = cores(), chromium()
    print("\n".join([machine(), *places.warnings]))
    kinds = [ASKED, TWENTY, OPEN]
    if not programs:
        kinds.remove(OPEN)
        print("playwright-core or Chromium is not there, so no page is opened in a browser: run scripts/test once")
    found, words = {case: [] for case in (NOBODY, *kinds, AGAIN)}, set()
    with contextlib.ExitStack() as running:
        browser = None
        if programs:
            profile = running.enter_context(tempfile.TemporaryDirectory())
            browser = running.enter_context(Browser(*programs, profile, prepare=behind(places.load, NICENESS)))
        for number in range(rounds):
            windows, told = run(browser, places, seconds, count, rate, kinds[number % len(kinds):] + kinds[:number % len(kinds)])
            words |= {told["tester"].get("bottleneck")} - {None}
            for window in windows:
                found[window.case].append((window.p99, 100 * window.cpu))
                each = window.read[0] if window.read else None
                took = f"   {each['frames']:,} frames, {each['bytes'] / 1024:,.0f} KiB, {each['cpu_seconds']:.2f} s of its own" if each else ""
                print(f"round {number + 1}  {window.case:<20} p99 {window.p99:7.2f} ms   server {100 * window.cpu:5.2f} % of a core"
                      f"   others took {window.others:.2f} of a core{took}", flush=True)
            print(f"round {number + 1}  {told['messages_per_second']:,.0f} messages/s, {told['verdict']}", flush=True)
    if words:
        print("\n".join(sorted(words)))
    shown("p99, ms", "ms", {case: [p99 for p99, _ in values] for case, values in found.items()})
    shown("server, % of a core", "% of a core", {case: [cpu for _, cpu in values] for case, values in found.items()})


if __name__ == "__main__":
    main()
