#!/usr/bin/env python3
"""Does one client that stops reading cost the other ninety-nine anything?

99 clients read a topic of 100 messages a second. In every second run a hundredth connects and never reads, with a small
receive buffer, so that retention soon overtakes it. Latency is from the server's own time of a message to its arrival here, on one clock.
Prints p99 with and without the stuck client, run by run and as a ratio of medians, and the server's memory.
Usage: run.py [SECONDS A RUN] [ROUNDS]
"""
import pathlib
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from datetime import datetime
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, machine  # noqa: E402

CLIENTS = 99
TOPIC = "feed=arrays?every=10ms&burst=1&shape=1000&keep_bytes=256KiB"
WARM_UP = 1.0


def connect(url, query, narrow=False):
    """A plain client after its handshake."""
    place = urlparse(url)
    client = socket.socket()
    if narrow:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((place.hostname, place.port))
    client.sendall(f"GET /?{query} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    if narrow:
        return client, b""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(4096)
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b" 101 " not in head:
        sys.exit(f"no stream: {head.decode()}")
    return client, rest


def frames(buffer):
    """The payloads of the whole frames in a buffer, and the rest of it."""
    at, found = 0, []
    while len(buffer) - at >= 2:
        length, head = buffer[at + 1], 2
        if length == 126:
            if len(buffer) - at < 4:
                break
            length, head = int.from_bytes(buffer[at + 2:at + 4], "big"), 4
        elif length == 127:
            sys.exit("a message this long was not asked for")
        if len(buffer) - at < head + length:
            break
        if buffer[at] == 0x81:
            found.append(buffer[at + head:at + head + 120])
        at += head + length
    return found, buffer[at:]


def run(seconds, stuck):
    """One server, 99 clients, and one more that is stuck or none; latencies in ms, gaps, memory, and who left how."""
    server = Server("--topic", TOPIC, stderr=subprocess.DEVNULL)
    told = []
    threading.Thread(target=lambda: told.extend(iter(server.process.stdout.readline, "")), daemon=True).start()
    poll, buffers, seen = selectors.DefaultSelector(), {}, []
    for _ in range(CLIENTS):
        client, rest = connect(server.url, "topics=feed")
        client.setblocking(False)
        poll.register(client, selectors.EVENT_READ)
        buffers[client] = rest
    if stuck:
        stuck = connect(server.url, "topics=feed&name=stuck", narrow=True)[0]
    began, memory = time.monotonic(), []
    while (now := time.monotonic() - began) < seconds + WARM_UP:
        for key, _ in poll.select(0.1):
            client = key.fileobj
            buffers[client] += client.recv(1 << 18)
            arrived = time.time()
            found, buffers[client] = frames(buffers[client])
            if now > WARM_UP:
                seen.extend((arrived, client.fileno(), head) for head in found)
        if now > len(memory):
            memory.append(server.resident_mib())
    if stuck:
        stuck.close()
        time.sleep(0.3)
    latencies, places, lost = [], {}, 0
    for arrived, client, head in seen:
        offset = int(head.split(b'"offset":', 1)[1].split(b",", 1)[0])
        sent = datetime.fromisoformat(head.split(b'"time":"', 1)[1].split(b'"', 1)[0].decode()).timestamp()
        latencies.append((arrived - sent) * 1e3)
        lost += offset - places.get(client, offset - 1) - 1
        places[client] = offset
    for client in buffers:
        client.close()
    server.process.terminate()
    server.process.wait(timeout=30)
    named = [line.strip() for line in told if '"event":"left"' in line and '"client":"stuck"' in line]
    return latencies, lost, memory, named


def p99(values):
    return sorted(values)[int(len(values) * 0.99)]


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print(machine())
    results, lost_at_all, named = {False: [], True: []}, 0, []
    for nth in range(rounds):
        # Who goes first changes, so that a machine that drifts favours nobody.
        for stuck in (False, True) if nth % 2 == 0 else (True, False):
            latencies, lost, memory, left = run(seconds, stuck)
            lost_at_all += lost
            named += left
            results[stuck].append((p99(latencies), memory[-1]))
            print(f"round {nth + 1}, {'one stuck' if stuck else 'none stuck'}: p50 {statistics.median(latencies):.3f} ms, "
                  f"p99 {p99(latencies):.3f} ms of {len(latencies):,} arrivals, {memory[1]:.1f} to {memory[-1]:.1f} MiB")
    for what, at in (("p99 in ms", 0), ("memory in MiB", 1)):
        without, with_it = ([result[at] for result in results[stuck]] for stuck in (False, True))
        print(f"{what}: {statistics.median(without):.3f} ({min(without):.3f}-{max(without):.3f}) without, "
              f"{statistics.median(with_it):.3f} ({min(with_it):.3f}-{max(with_it):.3f}) with it, "
              f"ratio {statistics.median(with_it) / statistics.median(without):.3f}"
              + (", not distinguishable" if min(with_it) <= max(without) and min(without) <= max(with_it) else ""))
    print(f"missed by the {CLIENTS}: {lost_at_all}")
    print("the stuck one:", named[-1] if named else "not named")
    sys.exit(1 if lost_at_all or len(named) != rounds else 0)


if __name__ == "__main__":
    main()
