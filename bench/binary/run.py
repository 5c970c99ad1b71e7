#!/usr/bin/env python3
"""What do arrays as binary frames save, against JSON, for the server and for who reads them?

Two servers of one seed run at the same time, each with its own clients of one topic of 1,000 numbers a message: those of one ask for binary
frames, those of the other for nothing. A thread here takes what comes and throws it away. For each dtype and number of clients:
bytes of a message, and the whole server's CPU time a delivery in microseconds, the source included, from the scheduler's counters. Then,
in Python, from a frame that came to a NumPy array: `json.loads` and `numpy.array`, against `numpy.frombuffer`.
Installs numpy by name into a virtual environment in the cache folder.
Usage: run.py [SECONDS A RUN] [ROUNDS]
"""
import base64
import json
import os
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
NUMBERS = 1000
DTYPES = {
    "int64, any": "dtype=int64&low=-9223372036854775808&high=9223372036854775808",
    "int64, below 100": "dtype=int64",
    "float64": "dtype=float64",
    "float32": "dtype=float32",
    "uint8, any": "dtype=uint8&high=256",
}
CLIENTS = (1, 100)
ENCODINGS = ("json", "binary")
WARM_UP = 1.0

READ = """
import base64, json, statistics, sys, timeit
import numpy

text, frame = (base64.b64decode(sys.stdin.readline()) for _ in range(2))
dtype = frame[4:6].decode()

def of_text():
    return numpy.array(json.loads(text)["data"], dtype="<" + dtype)

def of_frame():
    kind, rank, begin = frame[4:6].decode(), frame[6], int.from_bytes(frame[12:16], "little")
    return numpy.frombuffer(frame, "<" + kind, offset=begin).reshape(numpy.frombuffer(frame, "<u4", rank, 32))

assert of_text().shape == of_frame().shape and of_text().dtype == of_frame().dtype
print(json.dumps([statistics.median(timeit.repeat(read, number=200, repeat=9)) / 200 * 1e6 for read in (of_text, of_frame)]))
"""


def python():
    """A Python that has NumPy."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "lapwing" / "bench-python"
    if not (cache / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", cache], check=True)
    if not list(cache.glob("lib/*/site-packages/numpy")):
        subprocess.run([cache / "bin" / "pip", "install", "--quiet", "numpy"], check=True)
    return cache / "bin" / "python"


def connect(url, encoding):
    """A plain client after its handshake."""
    place = urlparse(url)
    client = socket.create_connection((place.hostname, place.port))
    client.sendall(f"GET /?topics=feed&encoding={encoding} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    if not head.startswith(b"HTTP/1.1 101"):
        sys.exit(f"refused: {head.decode(errors='replace')}")
    return client


def message(client):
    """The payload of one frame, which has a header of four bytes."""
    whole = client.makefile("rb")
    first, length, *_ = header = whole.read(4)
    if length != 126:
        sys.exit(f"a frame of another length: {header}")
    return first & 15, whole.read(int.from_bytes(header[2:], "big"))


def drain(clients, stop):
    """Throws away what comes, in the kernel."""
    poll, room = selectors.DefaultSelector(), bytearray(1 << 20)
    for client in clients:
        client.setblocking(False)
        poll.register(client, selectors.EVENT_READ)
    while not stop.is_set():
        for key, _ in poll.select(0.1):
            key.fileobj.recv_into(room, 0, socket.MSG_TRUNC)


def cpu_ns(server):
    """CPU time of all threads of a server so far."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def run(feed, count, seconds):
    """Microseconds of CPU a delivery of each encoding, both at the same time; and a frame of each."""
    servers = {encoding: Server("--topic", f"feed={feed}", "--seed", "1", stderr=subprocess.DEVNULL) for encoding in ENCODINGS}
    readers = [threading.Thread(target=lambda lines: list(lines), args=(server.process.stdout,), daemon=True) for server in servers.values()]
    for reader in readers:
        reader.start()
    first = {encoding: message(connect(server.url, encoding)) for encoding, server in servers.items()}
    clients = [connect(server.url, encoding) for encoding, server in servers.items() for _ in range(count)]
    stop = threading.Event()
    drainer = threading.Thread(target=drain, args=(clients, stop))
    drainer.start()
    time.sleep(WARM_UP)
    before, began = {encoding: cpu_ns(server) for encoding, server in servers.items()}, time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    costs = {encoding: (cpu_ns(server) - before[encoding]) / 1e3 / (RATE * passed * count) for encoding, server in servers.items()}
    stop.set()
    drainer.join()
    for client in clients:
        client.close()
    for server in servers.values():
        server.process.terminate()
        server.process.wait(timeout=30)
    for reader in readers:
        reader.join(timeout=5)
    assert (first["json"][0], first["binary"][0]) == (1, 2), "text, and a binary frame"
    return costs, {encoding: payload for encoding, (_, payload) in first.items()}


def spread(values, digits=1):
    """The median with the lowest and the highest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print(machine())
    for name, settings in DTYPES.items():
        feed, frames = f"arrays?rate={RATE}/s&shape={NUMBERS}&{settings}", {}
        for count in CLIENTS:
            seen = []
            for _ in range(rounds):
                costs, frames = run(feed, count, seconds)
                seen.append(costs)
            ratios = [costs["json"] / costs["binary"] for costs in seen]
            told = {encoding: spread([costs[encoding] for costs in seen]) for encoding in ENCODINGS}
            print(f"{name}, {count} clients: the server's CPU {told['json']} to {told['binary']} us a delivery, "
                  f"{spread(ratios, 2)} times less", flush=True)
        sizes = {encoding: len(frames[encoding]) for encoding in ENCODINGS}
        given = "".join(base64.b64encode(frames[encoding]).decode() + "\n" for encoding in ENCODINGS)
        read = subprocess.run([python(), "-c", READ], input=given, check=True, stdout=subprocess.PIPE, text=True).stdout
        text, frame = json.loads(read)
        print(f"{name}: {sizes['json']} to {sizes['binary']} bytes, {sizes['json'] / sizes['binary']:.2f} times fewer; "
              f"to a NumPy array {text:.1f} to {frame:.2f} us, {text / frame:.0f} times less", flush=True)


if __name__ == "__main__":
    main()
