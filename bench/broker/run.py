#!/usr/bin/env python3
"""What a server behind NATS takes in, and whether delivering costs it more than without.

Question 1: how many messages of 250 bytes does `lapwing serve --broker` take out of a stream in a second, and for each second of its
CPU, against a bare ordered consumer that does nothing with them? Both stand still while the stream is filled and then go on, one after
the other, so neither waits for a publisher: the time is from then until it has all.

Question 2: does a delivered message cost the same with one, two and three servers behind one stream as without a broker? All servers,
and one without a broker beside them, share one core at the same time and have as many listeners each, for what a system call costs
drifts within seconds. The stream gets single messages of 250 bytes, and the server without a broker the same by stdin. What the
threads that deliver take is told apart from the rest, which is there once for each message however many listen.

    bench/broker/run.py [--messages 500000] [--listeners 300] [--rounds 3] [--for 8]

One nats-server with file storage and its default sync_interval, from scripts/nats-server. CPU is that of all threads of a process, from the
scheduler's counters.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from lapwing_bench import Others, Server, cores, free_port, machine, pinned, stop, wait_for_port  # noqa: E402

BYTES = 250
RATE = 50
SERVERS_MAX = 3
INGEST_BOUND = 100_000
DELIVERY_BOUND = 1.05
PATIENCE_S = 120


def built():
    """The program with NATS and the bare client, as a release; or the program that LAPWING names, and the client in the folder examples beside it."""
    given = os.environ.get("LAPWING")
    if given:
        return given, str(pathlib.Path(given).with_name("examples") / "broker_floor")
    run = subprocess.run(
        ["cargo", "build", "--release", "--quiet", "-p", "lapwing", "--features", "nats", "--bin", "lapwing", "--example", "broker_floor",
         "--message-format=json-render-diagnostics"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = {}
    for line in run.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = message["executable"]
    return found["lapwing"], found["broker_floor"]


@contextlib.contextmanager
def nats(core_set):
    """A nats-server of its own; gives its URL."""
    program = subprocess.run([ROOT / "scripts" / "nats-server"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = subprocess.Popen([program, "-js", "-sd", folder, "-a", "127.0.0.1", "-p", str(port)], preexec_fn=pinned(core_set),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port, process)
            yield f"nats://127.0.0.1:{port}"
        finally:
            stop(process)


class Process:
    """Somebody who is measured."""

    def __init__(self, pid):
        self.pid = pid

    def cpu_s(self, named=""):
        """Time on a core, of all threads whose names begin so."""
        tasks = [task for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir() if (task / "comm").read_text().startswith(named)]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)


def serve(*arguments, stdin=None):
    """A server on its cores, whose events nobody needs."""
    server = Server(*arguments, stdin=stdin, stderr=subprocess.DEVNULL)
    subprocess.run(["taskset", "-a", "-c", "-p", ",".join(map(str, PLACES.server)), str(server.process.pid)],
                   check=True, stdout=subprocess.DEVNULL)
    threading.Thread(target=lambda: [None for _ in server.process.stdout], daemon=True).start()
    return server


def topic(server, name):
    """What a server tells of a topic."""
    with urllib.request.urlopen("http://" + server.ready["address"] + "/api/topics", timeout=PATIENCE_S) as answer:
        return next(topic for topic in json.load(answer)["topics"] if topic["topic"] == name)


def until(condition, what):
    """Waits, at most so long."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {PATIENCE_S} s in vain for {what}")
        time.sleep(0.002)


def fill(url, prefix, count, *rate):
    """Puts messages into the stream of the topic feed."""
    return [FLOOR, "fill", url, f"{prefix}_feed", f"{prefix}.feed", str(count), str(BYTES), *rate]


def take_in(url, process, count, prefix, has_all):
    """Messages a second, and for each second of CPU, of a process that stands still while the stream is filled."""
    process.pause()
    subprocess.run(fill(url, prefix, count), check=True, timeout=PATIENCE_S, preexec_fn=pinned(PLACES.load))
    before, began = process.cpu_s(), time.monotonic()
    process.resume()
    until(has_all, "all messages")
    took, spent = time.monotonic() - began, process.cpu_s() - before
    return count / took, count / spent


def ingest_of_lapwing(url, count, number):
    prefix = f"lapwing{number}"
    server = serve("--broker", url, "--broker-prefix", prefix, "--topic", "feed=push?keep_bytes=1GiB")
    found = take_in(url, Process(server.process.pid), count, prefix, lambda: topic(server, "feed")["next"] >= count)
    stop(server.process)
    return found


def ingest_of_floor(url, count, number):
    prefix = f"floor{number}"
    subprocess.run(fill(url, prefix, 1), check=True, timeout=PATIENCE_S)
    with subprocess.Popen([FLOOR, "read", url, f"{prefix}_feed", str(count)], stdout=subprocess.PIPE, text=True,
                          preexec_fn=pinned(PLACES.server)) as reader:
        assert reader.stdout.readline() == "ready\n"
        lines = []
        threading.Thread(target=lambda: lines.append(reader.stdout.readline()), daemon=True).start()
        found = take_in(url, Process(reader.pid), count, prefix, lambda: lines)
        reader.kill()
    if not lines[0].startswith("done"):
        sys.exit(f"the bare consumer has ended: {lines}")
    return found


def ingest(arguments):
    """Rounds of both in turn."""
    figures = {"bare consumer": [], "lapwing serve --broker": []}
    for number in range(arguments.rounds):
        # A new nats-server each time: what others have stored must not be in the way.
        with nats(PLACES.load) as url:
            figures["bare consumer"].append(ingest_of_floor(url, arguments.messages, number))
        with nats(PLACES.load) as url:
            figures["lapwing serve --broker"].append(ingest_of_lapwing(url, arguments.messages, number))
    print(f"\ningest: {arguments.messages:,} messages of {BYTES} bytes, {arguments.rounds} rounds: median (lowest to highest)")
    for name, found in figures.items():
        wall, cpu = zip(*found)
        print(f"  {name:<24} {spread(wall, '{:,.0f}')} a second, {spread(cpu, '{:,.0f}')} for each second of its CPU")
    wall = [rate for rate, _ in figures["lapwing serve --broker"]]
    reached = statistics.median(wall) >= INGEST_BOUND
    print(f"  {'reached' if reached else 'MISSED'}: at least {INGEST_BOUND:,} a second")
    return reached


def spread(numbers, form):
    return f"{form.format(statistics.median(numbers))} ({form.format(min(numbers))} to {form.format(max(numbers))})"


def write_lines(pipe, over):
    """What the stream gets, for a server without a broker."""
    with os.fdopen(pipe, "wb", buffering=0) as out:
        began, number = time.monotonic(), 0
        while not over.is_set():
            start = f'{{"id":{number},"name":"sensor-{number % 97}","text":"'
            out.write((start + "x" * (BYTES - len(start) - 2) + '"}\n').encode())
            number += 1
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))


class Taken(typing.NamedTuple):
    """What a server has done so far."""
    deliveries: int
    messages: int
    delivering_s: float
    all_s: float

    @classmethod
    def of(cls, server):
        told, process = topic(server, "feed"), Process(server.process.pid)
        return cls(told["delivered"]["messages"], told["next"], process.cpu_s("delivery-"), process.cpu_s())

    def since(self, before):
        """Microseconds of a delivery, and of a message beside its deliveries."""
        deliveries, messages = self.deliveries - before.deliveries, self.messages - before.messages
        delivering, everything = self.delivering_s - before.delivering_s, self.all_s - before.all_s
        return delivering / max(deliveries, 1) * 1e6, (everything - delivering) / max(messages, 1) * 1e6


def deliver(url, servers, arguments, number):
    """Costs of the server without a broker, and of each behind it; and what other programs had meanwhile."""
    prefix, over = f"deliver{servers}x{number}", threading.Event()
    reads, writes = os.pipe()
    alone = serve("--topic", "feed=stdin", stdin=reads)
    os.close(reads)
    threading.Thread(target=write_lines, args=(writes, over), daemon=True).start()
    several = [serve("--broker", url, "--broker-prefix", prefix, "--topic", "feed=push?keep_bytes=16MiB") for _ in range(servers)]
    publisher = subprocess.Popen(fill(url, prefix, 10**9, str(RATE)), preexec_fn=pinned(PLACES.load))
    every = [alone, *several]
    loads = [subprocess.Popen([LAPWING, "bench", f"ws://{server.ready['address']}", "--topics", "feed", "--clients",
                               str(arguments.listeners), "--for", "10m"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              preexec_fn=pinned(PLACES.load)) for server in every]
    for server in every:
        until(lambda server=server: topic(server, "feed")["followers"] >= arguments.listeners, "the listeners")
    time.sleep(2)
    own = {str(process.pid) for process in loads} | {str(server.process.pid) for server in every} | {str(os.getpid()), str(publisher.pid)}
    others = Others(own)
    before = [Taken.of(server) for server in every]
    time.sleep(arguments.seconds)
    costs = [Taken.of(server).since(then) for server, then in zip(every, before)]
    share = others.share()
    over.set()
    for process in [publisher, *loads, *(server.process for server in every)]:
        stop(process)
    return costs[0], costs[1:], share


def delivery(arguments):
    """Rounds of one, two and three servers."""
    print(f"\ndelivery: {arguments.listeners} listeners each, {RATE} single messages a second, windows of {arguments.seconds} s, "
          f"{arguments.rounds} rounds: median (lowest to highest)")
    found = {}
    for number in range(arguments.rounds):
        for servers in range(1, SERVERS_MAX + 1):
            with nats(PLACES.load) as url:
                alone, several, share = deliver(url, servers, arguments, number)
            each, beside = (statistics.mean(costs) for costs in zip(*several))
            found.setdefault(servers, []).append((each / alone[0], each, alone[0], beside, alone[1], share))
    reached = True
    for servers, rows in found.items():
        ratio, each, alone, beside, beside_alone, share = zip(*rows)
        print(f"  {servers} behind NATS: {spread(each, '{:.2f}')} µs a delivery each, {spread(alone, '{:.2f}')} µs without a broker beside "
              f"them: {spread(ratio, '{:.2f}')} ×")
        print(f"      beside deliveries {spread(beside, '{:,.0f}')} µs a message, without a broker {spread(beside_alone, '{:,.0f}')} µs; "
              f"other programs had {spread(share, '{:.2f}')} cores")
        reached &= statistics.median(ratio) <= DELIVERY_BOUND
    print(f"  {'reached' if reached else 'MISSED'}: at most {DELIVERY_BOUND} × with each number of servers")
    return reached


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500_000, metavar="N")
    parser.add_argument("--listeners", type=int, default=300, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--for", dest="seconds", type=float, default=8, metavar="SECONDS")
    parser.add_argument("--only", choices=["ingest", "delivery"], help="one of the two questions")
    arguments = parser.parse_args()
    print(machine(), *PLACES.warnings, sep="\n")
    good = arguments.only == "delivery" or ingest(arguments)
    good &= arguments.only == "ingest" or delivery(arguments)
    sys.exit(0 if good else 1)


PLACES = cores()

if __name__ == "__main__":
    LAPWING, FLOOR = built()
    os.environ["LAPWING"] = LAPWING
    main()
