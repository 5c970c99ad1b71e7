#!/usr/bin/env python3
"""Does an open page cost the feed anything?

COUNT clients (1,000) of `lapwing bench` receive RATE messages of 250 bytes a second (20), which it publishes, in turn with nobody watching and
with a page open in headless Chromium: the list of all clients, what changes of them each second, and every message. Prints the p99 of the
latency, counted from the intended moment, and the server's own CPU time for a second, and what both are with the page against without it,
round by round. The order of the two changes with each round.

The server has the first core, the load and Chromium the last: Chromium has the lowest priority there, and what it takes from the load
all the same is in the latency. What the load says of itself as the bottleneck is told. Takes what scripts/test has installed.

  bench/page/run.py [SECONDS A RUN] [ROUNDS] [COUNT] [RATE]
"""
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import ROOT, binary, cores, free_port, machine, pinned, stop, wait_for_port  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/foreign"))
from browser import Browser  # noqa: E402

CACHE = pathlib.Path(os.environ.get("LAPWING_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lapwing")
CASES = ("nobody watches", "a page is open")


def chromium():
    """Chromium and the folder of playwright-core."""
    found = os.environ.get("LAPWING_CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    modules = os.environ.get("LAPWING_NPM") or next((str(path.parent) for path in CACHE.glob("npm-*/node_modules/playwright-core")), None)
    if not found or not modules:
        sys.exit("playwright-core or Chromium is not there: run scripts/test once")
    return found, modules


def cpu_seconds(process):
    """Time of all its threads on a core so far."""
    tasks = pathlib.Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def run(browser, places, seconds, count, rate, watched):
    """One run: p99 in ms, CPU seconds of the server a second, messages to clients a second, and the load's word on itself."""
    port = free_port()
    with contextlib.ExitStack() as running:
        server = subprocess.Popen(
            [binary(), "serve", "--listen", f"127.0.0.1:{port}", "--topic", "feed=push", "--json"],
            preexec_fn=pinned(places.server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.callback(stop, server)
        wait_for_port(port, server)
        if watched:
            page = running.enter_context(browser.open(f"http://127.0.0.1:{port}/", width=1440, height=1000))
            page.until("document.getElementById('state').textContent === 'live'")
        load = subprocess.Popen(
            [binary(), "bench", f"ws://127.0.0.1:{port}", "--clients", str(count), "--publish", "feed", "--rate", f"{rate:g}", "--size", "250",
             "--for", f"{seconds:g}s", "--warm-up", "3s", "--threads", "1", "--json"],
            preexec_fn=pinned(places.load), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.callback(stop, load)
        if watched:
            page.until(f"document.getElementById('filters').innerText.includes('all {count:,}')")
        else:
            time.sleep(2)
        # Behind the connects, and over before the clients leave.
        time.sleep(2)
        before, began = cpu_seconds(server), time.monotonic()
        time.sleep(seconds - 2)
        cpu = (cpu_seconds(server) - before) / (time.monotonic() - began)
        if watched and page.run("document.querySelectorAll('#clients-rows tr.row').length") == 0:
            sys.exit("the page lists no clients")
        printed, complaint = load.communicate(timeout=60)
        if load.returncode != 0:
            sys.exit(f"the load ended with {load.returncode}: {complaint or json.loads(printed)['why']}")
        told = json.loads(printed)
    return told["latency"]["p99_ms"], cpu, told["messages_per_second"], told["tester"].get("bottleneck")


def main():
    seconds, rounds, count, rate = (float(given) for given in (sys.argv[1:] + [10, 5, 1000, 20][len(sys.argv) - 1:])[:4])
    rounds, count = int(rounds), int(count)
    places = cores()
    print("\n".join([machine(), *places.warnings]))
    found = {case: [] for case in CASES}
    words = set()
    with tempfile.TemporaryDirectory() as profile:
        # Its children keep to the core and the priority that it has.
        os.sched_setaffinity(0, places.load)
        os.nice(10)
        browser = Browser(*chromium(), profile)
        with browser:
            for number in range(rounds):
                for case in CASES if number % 2 == 0 else reversed(CASES):
                    p99, cpu, delivered, word = run(browser, places, seconds, count, rate, case == CASES[1])
                    found[case].append((p99, cpu))
                    words |= {word} - {None}
                    print(f"round {number + 1}  {case:<15} p99 {p99:7.2f} ms   server {100 * cpu:5.1f} % of a core   {delivered:,.0f} messages/s")
    print("\n".join(sorted(words)))
    for place, name, scale in ((0, "p99, ms", 1), (1, "server, % of a core", 100)):
        for case in CASES:
            values = [scale * one[place] for one in found[case]]
            print(f"{name:<22} {case:<15} median {statistics.median(values):8.2f}  ({min(values):.2f}-{max(values):.2f})")
        ratios = [with_page[place] / without[place] for without, with_page in zip(*found.values())]
        print(f"{name:<22} {'ratio':<15} median {statistics.median(ratios):8.2f}  ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
