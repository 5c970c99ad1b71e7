#!/usr/bin/env python3
"""How much an idle server costs, and how soon it serves.

Question: with both default topics and nobody listening, does `lapwing serve` stay under 1 % of a core and under 20 MiB?
And does the first message come within 1 s of the program's start?
Repeats each measurement and prints every one: minimum, median, maximum.
"""
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, binary, machine  # noqa: E402

ROUNDS = 5
SECONDS = 10


def idle():
    server = Server(stderr=subprocess.DEVNULL)
    time.sleep(1)
    before, began = server.cpu_seconds(), time.monotonic()
    time.sleep(SECONDS)
    share = (server.cpu_seconds() - before) / (time.monotonic() - began) * 100
    memory = server.resident_mib()
    server.stop()
    return share, memory


def first_message():
    began = time.monotonic()
    server = Server(stderr=subprocess.DEVNULL)
    listener = subprocess.Popen([binary(), "listen", server.url, "--from", "earliest", "--count", "1", "--json"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while b'"data"' not in listener.stdout.readline():
        pass
    took = time.monotonic() - began
    listener.wait()
    server.stop()
    return took * 1000


def row(name, unit, numbers, bound):
    verdict = "within" if max(numbers) < bound else "OVER"
    print(f"{name:<28} {min(numbers):8.2f} {statistics.median(numbers):8.2f} {max(numbers):8.2f} {unit:<12}"
          f"{verdict} {bound:g} {unit}")
    return max(numbers) < bound


def main():
    print(machine())
    print(f"{'':<28} {'min':>8} {'median':>8} {'max':>8}")
    rounds = [idle() for _ in range(ROUNDS)]
    good = row("CPU, idle", "% of a core", [share for share, _ in rounds], 1)
    good &= row("memory, idle", "MiB", [memory for _, memory in rounds], 20)
    good &= row("start to first message", "ms", [first_message() for _ in range(ROUNDS)], 1000)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
