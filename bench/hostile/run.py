#!/usr/bin/env python3
"""Do thousands of hostile connections cost honest listeners anything?

500 honest listeners (`lapwing bench`) hear a topic of 20 messages a second, first alone and then beside 5,000 hostile connections of
nine kinds: heads that come byte by byte, half-open peers, readers that never read, ping floods, fragments of one byte, megabyte messages
that never end, garbage, connects and resets, wrong handshakes. Whoever is ended comes again. Slow readers follow the same topic; those
that only need a stream another one, where nothing is sent: listeners that get every message would be an honest load. Honest ones must lose nothing, their p99 must stay
within 1.5 times of what it is alone, and the server within a bound that follows from its limits and is printed before anything starts.
Server and load are pinned apart; the hostile ones have what the honest load leaves of their core, so that it is the server that is tried.
Usage: run.py [SECONDS A RUN] [ROUNDS] [HOSTILE CONNECTIONS] [HONEST LISTENERS]
"""
import collections
import contextlib
import http.client
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "delivery"))
from lapwing_bench import Others, behind, binary, cores, free_port, machine, pinned, proportional_memory, stop, wait_for_port  # noqa: E402
from servers import program  # noqa: E402

TOPIC = "load=push?keep_bytes=16MiB"
RATE = 20
KIB, MIB = 1 << 10, 1 << 20
P99_RATIO_MAX = 1.5


def bound(connections):
    """Bytes that the server may have at most, by its limits, and how they add up."""
    parts = {
        "the program, its threads and their buffers": 16 * MIB,
        "what the topic keeps, and a segment more": 17 * MIB,
        f"{connections:,} connections, each with a head of 16 KiB or 16 KiB of answers that it does not take, and its entry": connections * 18 * KIB,
        "halves of frames for slow readers": 256 * MIB,
        "messages that are not whole (--max-unfinished)": 256 * MIB,
        "bodies that are published (--max-bodies)": 64 * MIB,
        "lines for the console": 8 * MIB,
        "what happened, kept for those who watch ($events, $reports), and on its way there": (16 + 16 + 8) * MIB,
    }
    whole = sum(parts.values())
    parts["a quarter of that, for what the allocator keeps between them"] = whole // 4
    return whole + whole // 4, parts


class Server:
    """A server whose standard output is read, so that its own words about its limits are known at the end."""

    def __init__(self, running, port, core_set):
        self.process = subprocess.Popen(
            [binary(), "serve", "--listen", f"127.0.0.1:{port}", "--topic", TOPIC, "--topic", "quiet=push", "--json"],
            preexec_fn=pinned(core_set), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        running.callback(stop, self.process)
        wait_for_port(port, self.process)
        self.events, self.stopped = collections.Counter(), {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            self.events[event["event"]] += 1
            if event["event"] == "stopped":
                self.stopped = event

    def memory_max(self):
        """The most that was resident so far, in bytes."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmHWM")

    def cpu_seconds(self):
        """CPU time of all its threads so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def finish(self):
        """Stops it; gives how often each limit was met."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)
        self.reader.join(10)
        return self.stopped.get("limits", {})


def fill(port):
    """Publishes what slow readers ask for and do not read: more than the kernel holds for one of them."""
    for _ in range(8):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/topics/load/messages", "x" * 1_000_000, {"Content-Type": "text/plain"})
        status = connection.getresponse().status
        connection.close()
        if status != 201:
            sys.exit(f"not published: {status}")


def run(seconds, honest, hostile, places):
    """One run; the figures of the honest ones, the server's memory, and what became of the hostile ones."""
    with contextlib.ExitStack() as running:
        port = free_port()
        server = Server(running, port, places.server)
        fill(port)
        attackers = None
        if hostile:
            attackers = subprocess.Popen(
                [program("delivery", "hostile"), "--port", str(port), "--connections", str(hostile), "--feed", "load", "--quiet", "quiet"],
                preexec_fn=behind(places.load, 19), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.callback(stop, attackers)
            if not attackers.stdout.readline():
                sys.exit("the hostile ones failed")
        own = {os.getpid(), server.process.pid} | ({attackers.pid} if attackers else set())
        bench = subprocess.Popen(
            [binary(), "bench", f"ws://127.0.0.1:{port}", "--clients", str(honest), "--for", f"{seconds}s", "--publish", "load",
             "--rate", str(RATE), "--json"], preexec_fn=pinned(places.load), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        others, began, before = Others(own | {bench.pid}), time.monotonic(), server.cpu_seconds()
        said, complaint = bench.communicate(timeout=seconds + 180)
        share, busy = others.share(), (server.cpu_seconds() - before) / (time.monotonic() - began)
        if not said:
            sys.exit(f"the honest ones failed: {complaint}")
        figures = json.loads(said)
        became = {}
        if attackers:
            attackers.stdin.close()
            became = json.loads(attackers.stdout.readline() or "{}")
        memory = server.memory_max(), proportional_memory(server.process.pid)
        return figures, memory, became, server.finish(), (share, busy)


def lost(figures):
    """What the honest ones did not get exactly once and in order."""
    sums = [topic["missed_silently"] + topic["missed_announced"] + topic["repeated"] + topic["out_of_order"] for topic in figures["topics"]]
    return sum(sums) + len(figures["ended"]) + len(figures["not_connected"])


def main():
    typed = [int(number) for number in sys.argv[1:]]
    seconds, rounds, hostile, honest = typed + [20, 3, 5000, 500][len(typed):]
    places = cores()
    print(machine(), *places.warnings, sep="\n")
    most, parts = bound(hostile + honest)
    print(f"bound, from the limits: {most / MIB:.0f} MiB")
    for what, size in parts.items():
        print(f"  {size / MIB:7.1f} MiB  {what}")
    p99, memories, wrong = {False: [], True: []}, [], 0
    for nth in range(rounds):
        # Who goes first changes, so that a machine that drifts favours nobody.
        for beside in (False, True) if nth % 2 == 0 else (True, False):
            figures, (peak, at_the_end), became, met, (share, busy) = run(seconds, honest, hostile if beside else 0, places)
            wrong += lost(figures) + (figures["verdict"] != "proven")
            p99[beside].append(figures["latency"]["p99_ms"])
            if beside:
                memories.append(peak)
            print(f"round {nth + 1}, {f'beside {hostile:,} hostile' if beside else 'alone'}: {figures['verdict']}, p50 {figures['latency']['p50_ms']:.2f} ms, "
                  f"p99 {figures['latency']['p99_ms']:.2f} ms of {figures['latency']['count']:,}, lost {lost(figures)}; "
                  f"server {busy:.2f} of its core, {peak / MIB:.1f} MiB at most, {at_the_end / MIB:.1f} MiB at the end; others took {share:.2f} of a core"
                  + (f"; the tester: {figures['tester']['bottleneck']}" if figures["tester"]["bottleneck"] else ""), flush=True)
            if became:
                print("  hostile:", ", ".join(f"{kind} {done['connects']:,} connects, {done['ended']:,} ended" for kind, done in became.items()))
                print("  limits met:", ", ".join(f"{limit} {count:,}" for limit, count in met.items()), flush=True)
    alone, beside = statistics.median(p99[False]), statistics.median(p99[True])
    print(f"p99 {alone:.2f} ms ({min(p99[False]):.2f}-{max(p99[False]):.2f}) alone, {beside:.2f} ms ({min(p99[True]):.2f}-{max(p99[True]):.2f}) "
          f"beside them: ratio {beside / alone:.2f}, at most {P99_RATIO_MAX} is wanted")
    print(f"memory {max(memories) / MIB:.1f} MiB at most, of a bound of {most / MIB:.0f} MiB; honest listeners lost {wrong}")
    sys.exit(0 if wrong == 0 and beside <= P99_RATIO_MAX * alone and max(memories) <= most else 1)


if __name__ == "__main__":
    main()
