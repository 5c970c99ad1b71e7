#!/usr/bin/env python3
"""When does it pay to compress messages?

Clients follow one topic, all of them with compression or none, and a thread here reads what comes and throws it away. For each
kind of message and number of clients: bytes on the wire a delivery, and the server's CPU time a delivery in microseconds,
the source included, from the scheduler's counters. From both follows how many bytes each further microsecond saves, and how
fast a line must be for that to be no gain: where bytes cost nothing, compression does not pay.
Usage: run.py [SECONDS A RUN] [ROUNDS]
"""
import json
import pathlib
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, machine  # noqa: E402

RATE = 50
TOPICS = {
    "users": f"users?rate={RATE}/s",
    "arrays, 10 numbers": f"arrays?rate={RATE}/s",
    "arrays, 1,000 numbers": f"arrays?rate={RATE}/s&shape=1000",
}
CLIENTS = (1, 300)
WARM_UP = 1.0


def connect(url, compress):
    """A plain client after its handshake, which must have been answered as it was asked."""
    place = urlparse(url)
    client = socket.create_connection((place.hostname, place.port))
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if compress else ""
    client.sendall(f"GET /?topics=feed HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{offer}"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    if (b"permessage-deflate" in head) != compress:
        sys.exit(f"not as it was asked: {head.decode(errors='replace')}")
    client.setblocking(False)
    return client


def drain(clients, stop):
    """Reads what comes."""
    poll = selectors.DefaultSelector()
    for client in clients:
        poll.register(client, selectors.EVENT_READ)
    while not stop.is_set():
        for key, _ in poll.select(0.1):
            key.fileobj.recv(1 << 18)


def cpu_ns(server):
    """CPU time of all threads of a server so far."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def run(feed, count, compress, seconds):
    """Bytes and microseconds of CPU a delivery."""
    server = Server("--topic", f"feed={feed}", "--seed", "1", "--compression", "on", stderr=subprocess.DEVNULL)
    told = []
    reader = threading.Thread(target=lambda: told.extend(iter(server.process.stdout.readline, "")), daemon=True)
    reader.start()
    clients, stop = [connect(server.url, compress) for _ in range(count)], threading.Event()
    drainer = threading.Thread(target=drain, args=(clients, stop))
    drainer.start()
    time.sleep(WARM_UP)
    before, began = cpu_ns(server), time.monotonic()
    time.sleep(seconds)
    took, passed = cpu_ns(server) - before, time.monotonic() - began
    stop.set()
    drainer.join()
    for client in clients:
        client.close()
    server.process.terminate()
    server.process.wait(timeout=30)
    reader.join(timeout=5)
    stopped = json.loads(next(line for line in reversed(told) if '"event":"stopped"' in line))
    return stopped["bytes"] / stopped["messages"], took / 1e3 / (RATE * passed * count)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(machine())
    for name, feed in TOPICS.items():
        for count in CLIENTS:
            seen = {False: [], True: []}
            for nth in range(rounds):
                # Who goes first changes, so that a machine that drifts favours nobody.
                for compress in (False, True) if nth % 2 == 0 else (True, False):
                    seen[compress].append(run(feed, count, compress, seconds))
            sizes = [statistics.median(size for size, _ in seen[compress]) for compress in (False, True)]
            costs = [sorted(cost for _, cost in seen[compress]) for compress in (False, True)]
            middle = [statistics.median(cost) for cost in costs]
            more = middle[1] - middle[0]
            told = [f"{median:.2f} ({cost[0]:.2f}-{cost[-1]:.2f})" for median, cost in zip(middle, costs)]
            print(f"{name}, {count} clients: {sizes[0]:.0f} to {sizes[1]:.0f} bytes ({sizes[0] / sizes[1]:.2f} times), "
                  f"CPU {told[0]} to {told[1]} us a delivery ({middle[1] / middle[0]:.2f} times), {more:+.2f} us for "
                  f"{sizes[0] - sizes[1]:.0f} bytes saved", flush=True)


if __name__ == "__main__":
    main()
