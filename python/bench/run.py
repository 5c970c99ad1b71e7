#!/usr/bin/env python3
"""How much does the Python package receive in a second of its CPU, against the package `websockets` in the same run?

    scripts/python --wheel dist && pip install dist/lapwing-*.whl websockets
    LAPWING=target/release/lapwing python/bench/run.py [ROUNDS]

Messages of 250 bytes come from `lapwing serve`, which holds all of them before the clock starts. Arrays come from a feeder that only
sends frames that are ready: a server of ours makes them from text, which takes longer than any client does. Each client is a process of
its own; its CPU is that of all its threads. Rounds go through all clients in turn; printed are medians, with the lowest and the highest.
"""

import asyncio
import base64
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import lapwing
import numpy
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

sys.path.insert(0, os.fspath(pathlib.Path(__file__).parents[2] / "examples"))
from binary import decode  # noqa: E402

MESSAGES, BLOCK = 1_000_000, 1000
#: Of each kind of array: what it is called, its bytes, how many there are, how many make a block.
LARGE, SMALL = ("1 MiB", 1 << 20, 1024, 16), ("800 bytes", 800, 200_000, 1000)
#: The baseline is slower, and gets as many messages as fill a second or so.
BASELINE_MESSAGES = 200_000
#: Of `websockets`: nothing that costs it time, and no waiting for a close behind all that it did not read.
ASKED = {"max_size": None, "compression": None, "close_timeout": 0.01}


def untouched(url):
    with lapwing.listen(url, topics=["m"], block=BLOCK, start="earliest", count=MESSAGES, report=False) as feed:
        return sum(len(block) for block in feed)


def as_text(url):
    count = 0
    with lapwing.listen(url, topics=["m"], block=BLOCK, start="earliest", count=MESSAGES, report=False) as feed:
        for block in feed:
            for text in block.raw:
                count += len(text) > 0
    return count


def as_objects(url):
    count = 0
    with lapwing.listen(url, topics=["m"], block=BLOCK, start="earliest", count=MESSAGES, report=False) as feed:
        for block in feed:
            for said in block.data:
                count += "text" in said
    return count


def one_by_one(url):
    count = 0
    with lapwing.listen(url, topics=["m"], start="earliest", count=MESSAGES, report=False) as feed:
        for message in feed.messages():
            count += message.offset >= 0
    return count


def asyncio_blocks(url):
    async def main():
        count = 0
        feed = lapwing.listen(url, topics=["m"], block=BLOCK, start="earliest", count=MESSAGES, report=False)
        async with feed:
            async for block in feed:
                count += len(block)
        return count

    return asyncio.run(main())


def websockets_text(url):
    with connect(f"{url}/?topics=m&from=earliest", **ASKED) as feed:
        return sum(len(feed.recv()) > 0 for _ in range(BASELINE_MESSAGES))


def websockets_asyncio_text(url):
    async def main():
        count = 0
        async with connect_async(f"{url}/?topics=m&from=earliest", **ASKED) as feed:
            async for text in feed:
                count += len(text) > 0
                if count == BASELINE_MESSAGES:
                    return count

    return asyncio.run(main())


def websockets_objects(url):
    with connect(f"{url}/?topics=m&from=earliest", **ASKED) as feed:
        return sum("text" in json.loads(feed.recv())["data"] for _ in range(BASELINE_MESSAGES))


def arrays(kind, url):
    _, size, most, block = kind
    count = 0
    with lapwing.listen(url, topics=["arrays"], block=block, count=most, report=False) as feed:
        for block in feed:
            array = block.array
            assert array.shape[1:] == (size // 8,) and array[0, 0] == block.first
            count += len(array)
    return count


def websockets_arrays(kind, url):
    _, size, most, _ = kind
    with connect(f"{url}/?topics=arrays&encoding=binary", **ASKED) as feed:
        return sum(decode(feed.recv())[3].shape == (size // 8,) for _ in range(most))


def websockets_asyncio_arrays(kind, url):
    _, size, most, _ = kind

    async def main():
        async with connect_async(f"{url}/?topics=arrays&encoding=binary", **ASKED) as feed:
            count = 0
            async for frame in feed:
                count += decode(frame)[3].shape == (size // 8,)
                if count == most:
                    return count

    return asyncio.run(main())


def measured(client, url, answer):
    """In a process of its own: how many came, by the clock and by the CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    count = client(url)
    answer.put((count, time.perf_counter() - clock, time.process_time() - cpu))


def measure(client, url):
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=measured, args=(client, url, answer))
    process.start()
    result = answer.get(timeout=300)
    process.join()
    return result


def feeder(kind):
    """A server of prepared frames for one client after the other, in a process of its own; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=feed, args=(listener, *kind[1:3]), daemon=True)
    process.start()
    return f"ws://127.0.0.1:{listener.getsockname()[1]}"


def feed(listener, size, count):
    header = b"LWA\x01f8" + bytes([1, 6]) + struct.pack("<II", 0, 48) + bytes(16) + struct.pack("<I", size // 8) + b"arrays"
    elements = numpy.random.default_rng(1).normal(size=size // 8).tobytes()
    message = header.ljust(48, b"\0") + elements
    length = struct.pack(">BH", 126, len(message)) if len(message) < 65536 else struct.pack(">BQ", 127, len(message))
    begin, together = 1 + len(length), max(1, 65536 // size)
    frame = b"\x82" + length + message
    frames = bytearray(frame * together)
    control = {
        "type": "welcome", "session": 1, "name": "bench", "server": "bench", "topics": ["arrays"],
        "report_interval_ms": 1000, "heartbeat_ms": 10000,
    }
    granted = {
        "type": "subscribed", "topic": "arrays", "epoch": "0" * 31 + "1", "first": 0, "next": 0, "level": "none",
        "from": 0, "answer": "ok", "number": 0, "dtype": "float64",
    }
    while True:
        client, _ = listener.accept()
        client.settimeout(60)
        try:
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(65536)
            key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            chosen = b"Sec-WebSocket-Protocol: lapwing.v1\r\n" if b"lapwing.v1" in request else b""
            client.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + chosen + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            if chosen:
                for said in (control, granted):
                    text = json.dumps(said).encode()
                    client.sendall(b"\x81\x7e" + struct.pack(">H", len(text)) + text)
                    if said is control:
                        client.recv(65536)
            for offset in range(0, count, together):
                for at in range(together):
                    place = at * len(frame) + begin
                    struct.pack_into("<qq", frames, place + 16, offset + at, time.time_ns() // 1000)
                    struct.pack_into("<d", frames, place + 48, float(offset + at))
                client.sendall(frames)
            # Until it says goodbye, which it does in a frame of its own.
            while (said := client.recv(65536)) and said[0] != 0x88:
                pass
        except OSError:
            pass
        finally:
            client.close()


def serve(folder):
    program = os.environ.get("LAPWING", "lapwing")
    arguments = ["serve", "--listen", "127.0.0.1:0", "--output", "json", "--topic", "m=push?keep_bytes=1GiB&keep=1h"]
    with open(pathlib.Path(folder) / "serve.txt", "wb") as errors:
        server = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=errors)
    for line in server.stdout:
        event = json.loads(line)
        if event["event"] == "ready":
            return server, f"ws://{event['address']}"
    raise SystemExit("the server did not start")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        server, messages = serve(folder)
        try:
            text = "x" * (250 - len('{"n":0000000,"text":""}'))
            began = time.perf_counter()
            lapwing.publish(messages, "m", ({"n": 1_000_000 + n, "text": text} for n in range(MESSAGES)))
            print(f"published {MESSAGES / (time.perf_counter() - began) / 1e6:.2f} M dicts of 250 bytes a second")
            rows = [
                ("blocks, untouched", untouched, messages, 0),
                ("blocks with asyncio, untouched", asyncio_blocks, messages, 0),
                ("blocks, each as text", as_text, messages, 0),
                ("blocks, each as an object", as_objects, messages, 0),
                ("messages one by one, their offsets", one_by_one, messages, 0),
                ("websockets, each as text", websockets_text, messages, 0),
                ("websockets with asyncio, each as text", websockets_asyncio_text, messages, 0),
                ("websockets, each as an object", websockets_objects, messages, 0),
            ]
            for kind in (LARGE, SMALL):
                url = feeder(kind)
                for name, client in [
                    ("blocks of arrays", arrays),
                    ("websockets, arrays", websockets_arrays),
                    ("websockets with asyncio, arrays", websockets_asyncio_arrays),
                ]:
                    rows.append((f"{name} of {kind[0]}", functools.partial(client, kind), url, kind[1]))
            results = {name: [] for name, *_ in rows}
            for _ in range(rounds):
                for name, client, url, _ in rows:
                    results[name].append(measure(client, url))
        finally:
            server.terminate()
            server.communicate(timeout=30)
    print(f"{'':48} {'a CPU second':>28} {'by the clock':>14}")
    for name, _, _, each in rows:
        scale, unit = (each / 1e9, "GB") if each else (1e-6, "M")
        cpu = sorted(count * scale / cpu for count, _, cpu in results[name])
        clock = statistics.median(count * scale / clock for count, clock, _ in results[name])
        spread = f"{statistics.median(cpu):.2f} {unit} ({cpu[0]:.2f}–{cpu[-1]:.2f})"
        print(f"{name:48} {spread:>28} {clock:>11.2f} {unit}")


if __name__ == "__main__":
    main()
