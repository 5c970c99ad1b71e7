#!/usr/bin/env python3
"""What do reports and metrics cost a server with ten thousand clients?

10,000 clients of lapwing.v1 follow a topic in which nothing comes, so that nothing else costs much. In turn nothing happens, /metrics is read
once a second, a hundred of them report in a second (each of all of them once in 100 s), or both. Prints the server's own CPU time in each case, from the
scheduler's counters, and what it is more than when nothing happens; that of both is to be under 1 % of a core.
The console's lines about reports go to /dev/null. Usage: run.py [SECONDS A CASE] [ROUNDS] [CLIENTS]
"""
import contextlib
import http.client
import itertools
import json
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import binary, cores, free_port, machine, pinned, stop, wait_for_port  # noqa: E402

MESSAGES = 10_000
BLOCK = 5
REPORTS_PER_SECOND = 100
SHARE_MAX = 1.0
CASES = {"nothing": (0, 0), "metrics, once a second": (1, 0), "100 reports a second": (0, 1), "both": (1, 1)}
HANDSHAKE = ("GET /?topics=feed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: lapwing.v1\r\n\r\n")


def serve(running, port, core_set):
    """A server that pings nobody in the first five minutes: these clients would not answer."""
    process = subprocess.Popen(
        [binary(), "serve", "--listen", f"127.0.0.1:{port}", "--topic", "feed=push?keep=1h", "--ping-interval", "5m", "--json"],
        preexec_fn=pinned(core_set), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running.callback(stop, process)
    wait_for_port(port, process)
    return process


def publish(port):
    """Messages for the reports to be about."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = "".join(f"{number}\n" for number in range(MESSAGES))
    connection.request("POST", "/topics/feed/messages", body, {"Content-Type": "application/x-ndjson"})
    status = connection.getresponse().status
    if status != 201:
        sys.exit(f"a publish was answered {status}")


def connect(port):
    """A client after its handshake; what comes after that stays in its socket."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(HANDSHAKE.format(port=port).encode())
    answer = client.recv(4096)
    if b" 101 " not in answer:
        sys.exit(f"no stream: {answer[:200]!r}")
    return client


def report(block):
    """A masked frame with a report of one block. The mask is zero, which leaves the text as it is."""
    spans = {"count": 1, "total": 2000.5, "min": 2000.5, "median": 2000.5, "max": 2000.5}
    text = json.dumps({
        "type": "report", "topic": "feed", "block_size": BLOCK, "first_block": block, "last_block": block, "blocks": 1,
        "first": block * BLOCK, "last": block * BLOCK + BLOCK - 1, "messages": BLOCK, "bytes": 500, "elapsed_ms": spans, "span_ms": 2000.5,
        "spread_ms": spans | {"total": 0.1, "min": 0.1, "median": 0.1, "max": 0.1}, "flags": [], "reconnects": 0,
        "time": "2026-11-21T19:00:00Z"}).encode()
    return bytes((0x81, 0x80 | 126)) + len(text).to_bytes(2, "big") + bytes(4) + text


def cpu_seconds(process):
    """Time of all its threads on a core so far."""
    tasks = pathlib.Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def scrape(port):
    """Reads the metrics over a connection of its own; gives them and how long it took in ms."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    text = connection.getresponse().read().decode()
    connection.close()
    return text, (time.monotonic() - began) * 1000


def value(text, series):
    """The value of a series."""
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series + " "))


def run(process, port, reporters, seconds, scrapes, reports):
    """One case: the server's share of a core in %, and how long each scrape took."""
    began, before, took = time.monotonic(), cpu_seconds(process), []
    ticks = int(seconds * REPORTS_PER_SECOND)
    for tick in range(ticks):
        wait = began + tick / REPORTS_PER_SECOND - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if scrapes and tick % REPORTS_PER_SECOND == 0:
            took.append(scrape(port)[1])
        if reports:
            client, block = next(reporters)
            client.sendall(report(block))
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    return (cpu_seconds(process) - before) / (time.monotonic() - began) * 100, took


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10_000
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    places, port = cores(), free_port()
    print("\n".join([machine(), *places.warnings]))
    shares, took = {case: [] for case in CASES}, []
    with contextlib.ExitStack() as running:
        process = serve(running, port, places.server)
        publish(port)
        clients = [running.enter_context(connect(port)) for _ in range(count)]
        # Whoever reported older blocks would owe a report soon, and be pinged.
        newest = MESSAGES // BLOCK
        reporters = zip(itertools.cycle(clients), itertools.cycle((newest - 2, newest - 1)))
        time.sleep(2)
        for _ in range(rounds):
            for case, (scrapes, reports) in CASES.items():
                share, times = run(process, port, reporters, seconds, scrapes, reports)
                shares[case].append(share)
                took += times
        # The last report may be on its way.
        time.sleep(0.5)
        text = scrape(port)[0]
        here, taken = value(text, 'lapwing_clients{mode="lapwing.v1"}'), value(text, 'lapwing_reports_total{topic="feed"}')
    sent = 2 * rounds * int(seconds * REPORTS_PER_SECOND)
    print(f"{count:,} clients, {rounds} rounds of {seconds:g} s a case; {here:,.0f} clients were there at the end, {taken:,.0f} of {sent:,} reports taken")
    print(f"an answer has {len(text) / 1024:.0f} KiB and took {statistics.median(took):.1f} ms (at most {max(took):.1f} ms)")
    print(f"{'server, % of a core':<28} {'min':>8} {'median':>8} {'max':>8} {'more':>8}")
    quiet = statistics.median(shares["nothing"])
    for case, found in shares.items():
        median = statistics.median(found)
        print(f"{case:<28} {min(found):8.2f} {median:8.2f} {max(found):8.2f} {median - quiet:8.2f}")
    good = statistics.median(shares["both"]) - quiet < SHARE_MAX and here == count and taken == sent
    print(f"{'within' if good else 'NOT within'} {SHARE_MAX:g} % of a core for both")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
