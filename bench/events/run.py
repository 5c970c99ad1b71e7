#!/usr/bin/env python3
"""What clients of server-sent events cost, against clients of WebSocket.

Question: how much memory does the server need for each of COUNT clients (1,000 unless said) of a quiet topic, and how much of a core
for each message that it gives to all of them, at RATE messages a second (20)?
Both kinds in turn, each on a server of its own; prints minimum, median and maximum of the rounds.

  bench/events/run.py [COUNT] [ROUNDS] [RATE]
"""
import json
import pathlib
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, machine  # noqa: E402

SECONDS = 5
BODY = json.dumps("x" * 190).encode()
KINDS = {
    "WebSocket": "GET /?topics=orders HTTP/1.1\r\nHost: {0}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "events": "GET /topics/orders/events HTTP/1.1\r\nHost: {0}\r\n\r\n",
}


class Crowd:
    """Clients that throw away what they are given, and count what of it is a message."""

    def __init__(self, address, request, count):
        self.selector, self.messages = selectors.DefaultSelector(), 0
        host, port = address.rsplit(":", 1)
        for _ in range(count):
            client = socket.create_connection((host, int(port)))
            client.sendall(request.format(address).encode())
            self.selector.register(client, selectors.EVENT_READ)

    def read(self, seconds):
        """Reads until nothing has come for so long."""
        quiet = time.monotonic() + seconds
        while time.monotonic() < quiet:
            for key, _ in self.selector.select(0.05):
                self.messages += key.fileobj.recv(1 << 16).count(b'"offset":')
                quiet = time.monotonic() + seconds

    def close(self):
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()


def publish(address):
    request = urllib.request.Request(f"http://{address}/topics/orders/messages", BODY, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).read()


def measure(kind, count, rate):
    server = Server("--topic", "orders=push", "--heartbeat", "1m", stderr=subprocess.DEVNULL)
    address = server.ready["address"]
    publish(address)
    time.sleep(0.5)
    before = server.resident_mib()
    crowd = Crowd(address, KINDS[kind], count)
    crowd.read(1)
    memory = (server.resident_mib() - before) * 1024 / count
    used, begun, published = server.cpu_seconds(), time.monotonic(), 0
    while time.monotonic() < begun + SECONDS:
        publish(address)
        published += 1
        while time.monotonic() < begun + published / rate:
            crowd.read(0.001)
    crowd.read(0.5)
    microseconds = (server.cpu_seconds() - used) / (published * count) * 1e6
    assert crowd.messages == published * count, (crowd.messages, published * count)
    crowd.close()
    server.stop()
    return memory, microseconds


def main():
    count, rounds, rate = (int(given) for given in (sys.argv[1:] + ["1000", "3", "20"][len(sys.argv) - 1:]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(machine())
    found = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            found[kind].append(measure(kind, count, rate))
    for kind, numbers in found.items():
        for nth, unit in enumerate(("KiB a client", "us of CPU a delivery")):
            values = [number[nth] for number in numbers]
            print(f"{kind:<10} {min(values):8.2f} {statistics.median(values):8.2f} {max(values):8.2f} {unit}")


if __name__ == "__main__":
    main()
