#!/usr/bin/env python3
"""How fast does `lapwing verify` read a recording from the page cache, against counting its lines?

    bench/verify/run.py [GB, 1 by default] [ROUNDS, 5 by default]

The program records 20,000 random people; the file holds them over and over, each time as another history. Every round runs `lapwing verify` and `wc -l` on it, one after the other.
"""
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, binary, machine  # noqa: E402

TABLE = []
for byte in range(256):
    value = byte
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    TABLE.append(value)


def sealed(line):
    """The line with the checksum of what it says now."""
    body = line[:line.rindex(b',"crc":"')]
    value = 0xFFFFFFFF
    for byte in body:
        value = TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return b'%s,"crc":"%08x"}' % (body, value ^ 0xFFFFFFFF)


def recording(path, size):
    """Writes at least `size` bytes of messages; gives how many bytes and messages there are."""
    sample = path.with_name("sample.ndjson")
    server = Server("--topic", "users=users?every=1ms", "--seed", "1")
    subprocess.run([binary(), "listen", server.url, "--quiet", "--no-report", "--from", "earliest", "--count", "20000", "--log", sample],
                   check=True, stderr=subprocess.DEVNULL)
    server.stop()
    messages = [line for line in sample.read_bytes().splitlines() if line.startswith(b'{"topic"')]
    written = count = 0
    with path.open("wb") as out:
        block = []
        for offset, line in enumerate(messages):
            # Without a name of its own each copy is another history; of one that comes back all would be repeats.
            line = re.sub(rb',"epoch":"[0-9a-f]{32}"', b"", line, count=1)
            line = re.sub(rb'"offset":\d+', b'"offset":%d' % offset, line, count=1)
            block.append(sealed(line))
        whole = b"\n".join(block) + b"\n"
        while written < size:
            # Another history of the same topic begins with each copy, so that offsets may begin anew, and the machine was started anew.
            run = json.dumps({"record": "start", "version": "bench", "url": "ws://bench", "block_size": 5,
                              "received": "2026-11-21T19:00:00.000000000Z", "mono": 0}, separators=(",", ":"))[:-1].encode()
            reset = json.dumps({"record": "reset", "topic": "users", "first": 0, "last": len(messages) - 1,
                                "received": "2026-11-21T19:00:00.000000000Z", "mono": 0}, separators=(",", ":"))[:-1].encode()
            lines = [sealed(run + b',"crc":"')] + ([sealed(reset + b',"crc":"')] if written else [])
            written += out.write(b"\n".join(lines) + b"\n") + out.write(whole)
            count += len(messages)
    return written, count


def timed(command, expect):
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    took = time.perf_counter() - began
    assert done.returncode == expect, done
    return took, done.stdout


def main():
    size = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "feed.ndjson"
        written, count = recording(path, size * 1e9)
        print(f"{written / 1e9:.2f} GB, {count:,} messages of {written / count:.0f} bytes a line")
        ours, theirs = [], []
        for _ in range(rounds):
            took, out = timed([binary(), "verify", "--json", "--allow-gaps", path], 0)
            assert json.loads(out)["recordings"][0]["messages"] == count, out
            ours.append(took)
            theirs.append(timed(["wc", "-l", path], 0)[0])
    rate = lambda seconds: written / seconds / 1e9  # noqa: E731
    for name, took in [("lapwing verify", ours), ("wc -l", theirs)]:
        print(f"{name:<15} {rate(statistics.median(took)):.2f} GB/s ({rate(max(took)):.2f}-{rate(min(took)):.2f}), {rounds} rounds")
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"lapwing verify reads at {ratio:.2f} x the speed of wc -l")


if __name__ == "__main__":
    main()
