#!/usr/bin/env python3
"""What TLS costs: memory of a quiet connection, and the server's CPU for a delivered message.

Question: does a quiet connection inside TLS stay under 12 KiB with 10,000 of them, and by how much is a delivery dearer than in the clear?
Memory is the growth of the server's proportional memory (Pss) from no client to all of them, over their number, after 200 others have
come and gone. CPU is that of all threads of the server, from the scheduler's counters, while all clients are connected; the messages are
arrays of some 250 bytes, 50 a second. Rounds take all in turn. In the clear it is measured with io_uring and without, since what is
encrypted does not go by its batches.

    bench/tls/run.py [CLIENTS [ROUNDS]]
"""
import pathlib
import statistics
import subprocess
import sys
import threading
import time
import typing

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, binary, cores, machine, pinned, proportional_memory, stop  # noqa: E402

LISTENERS = 300
RATE = 50
SECONDS = 8
BOUND_KIB = 12


def start(how, topic):
    """A server on its own cores, whose events nobody needs."""
    server = Server("--topic", topic, *how.flags, stderr=subprocess.DEVNULL)
    subprocess.run(["taskset", "-a", "-c", "-p", ",".join(map(str, PLACES.server)), str(server.process.pid)],
                   check=True, stdout=subprocess.DEVNULL)
    threading.Thread(target=lambda: [None for _ in server.process.stdout], daemon=True).start()
    return server


def sockets(server):
    """How many sockets it has open."""
    found = 0
    for file in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            found += str(file.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue  # It was closed meanwhile.
    return found


def listen(server, how, clients):
    """So many listeners, as a process; it gives back when all of them are connected."""
    before = sockets(server)
    load = subprocess.Popen([binary(), "bench", f"{how.scheme}://{server.ready['address']}", "--topics", "feed",
                             "--clients", str(clients), "--for", "10m", *how.trust],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=pinned(PLACES.load))
    while sockets(server) < before + clients:
        if load.poll() is not None:
            sys.exit(f"the listeners ended with {load.returncode}")
        time.sleep(0.1)
    time.sleep(2)
    return load


def memory(how, clients):
    """KiB of a quiet connection."""
    server = start(how, "feed=push")
    none = sockets(server)
    stop(listen(server, how, 200))
    while sockets(server) > none:
        time.sleep(0.1)
    time.sleep(1)
    before = proportional_memory(server.process.pid)
    load = listen(server, how, clients)
    grown = proportional_memory(server.process.pid) - before
    stop(load)
    stop(server.process)
    return grown / clients / 1024


def cpu_nanos(server):
    """Time of all threads on a core so far."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def cpu(how):
    """Microseconds of a delivery."""
    server = start(how, f"feed=arrays?rate={RATE}/s&shape=50")
    load = listen(server, how, LISTENERS)
    before, began = cpu_nanos(server), time.monotonic()
    time.sleep(SECONDS)
    spent, took = cpu_nanos(server) - before, time.monotonic() - began
    stop(load)
    stop(server.process)
    return spent / (took * RATE * LISTENERS) / 1000


def row(name, unit, numbers):
    print(f"{name:<46} {statistics.median(numbers):8.2f} {min(numbers):8.2f} {max(numbers):8.2f} {unit}", flush=True)


class How(typing.NamedTuple):
    """A way to serve, and what its listeners need."""
    name: str
    flags: tuple
    scheme: str = "ws"
    trust: tuple = ()


PLAIN = How("in the clear, io_uring if it is to be had", ())
ALONE = How("in the clear, without io_uring", ("--io-uring", "off"))
TLS = How("inside TLS", ("--tls-self-signed",), "wss", ("--insecure",))


def main():
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(machine(), *PLACES.warnings, sep="\n")
    quiet, deliveries = {PLAIN: [], TLS: []}, {PLAIN: [], ALONE: [], TLS: []}
    for _ in range(rounds):
        for how, found in quiet.items():
            found.append(memory(how, clients))
        for how, found in deliveries.items():
            found.append(cpu(how))
    print(f"{'':<46} {'median':>8} {'min':>8} {'max':>8}")
    for how, found in quiet.items():
        row(f"quiet, {how.name}", f"KiB, of {clients}", found)
    for how, found in deliveries.items():
        row(how.name, f"µs a delivery, to {LISTENERS}", found)
    sys.exit(0 if max(quiet[TLS]) < BOUND_KIB else 1)


PLACES = cores()

if __name__ == "__main__":
    main()
