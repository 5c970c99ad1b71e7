#!/usr/bin/env python3
"""Does a server run for long without losing anything or growing?

Both default topics, 20 listeners that record, for 10 minutes (or so many seconds: run.py [SECONDS] [LISTENERS]).
At the end: every recording holds each offset once and in order, all end at the same offsets give or take what was on its
way, the server's memory is flat once the topics are full, and its stderr holds nothing but life events.
"""
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, binary, machine  # noqa: E402

LIFE_EVENT = re.compile(r"^\{\"event\":\"(ready|joined|left|report|stopping|stopped)\"")


def offsets(path):
    """For each topic, its offsets in the order of the file."""
    found = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if "record" not in record:
                found.setdefault(record["topic"], []).append(record["offset"])
    return found


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600
    listeners = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lapwing-soak-"))
    print(machine())
    print(f"{listeners} listeners for {seconds:g} s; recordings in {folder}")
    with open(folder / "server.err", "w") as stderr:
        server = Server(stderr=stderr)
        strange = []
        events = iter(server.process.stdout.readline, "")
        reader = threading.Thread(target=lambda: strange.extend(line for line in events if not LIFE_EVENT.match(line)), daemon=True)
        reader.start()
        processes = [
            subprocess.Popen([binary(), "listen", server.url, "--name", f"soak-{n}", "--log", folder / f"{n}.ndjson", "--quiet",
                              "--fail-on-gap"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for n in range(listeners)
        ]
        memory, began, cpu = [], time.monotonic(), server.cpu_seconds()
        while time.monotonic() - began < seconds:
            time.sleep(min(5, seconds / 10))
            memory.append(server.resident_mib())
            print(f"\r{time.monotonic() - began:6.0f} of {seconds:g} s   {memory[-1]:6.1f} MiB", end="", flush=True)
        share = (server.cpu_seconds() - cpu) / (time.monotonic() - began) * 100
        print()
        for process in processes:
            process.terminate()
        codes = [process.wait(timeout=30) for process in processes]
        exit_code = server.process.poll()
        server.process.terminate()
        server_code = server.process.wait(timeout=30)
        reader.join(timeout=10)
    problems = [f"listener {n} ended with {code}" for n, code in enumerate(codes) if code != 0]
    if exit_code is not None or server_code != 0:
        problems.append(f"the server ended with {exit_code if exit_code is not None else server_code}")
    ends = {}
    messages = 0
    for n in range(listeners):
        for topic, got in offsets(folder / f"{n}.ndjson").items():
            messages += len(got)
            ends.setdefault(topic, []).append(got[-1])
            if got != list(range(got[0], got[0] + len(got))):
                problems.append(f"listener {n}: {topic} is not dense")
    for topic, last in ends.items():
        if len(last) != listeners or max(last) - min(last) > 5:
            problems.append(f"{topic}: listeners end at {sorted(last)}")
    half = memory[len(memory) // 2:]
    growth = half[-1] - half[0]
    if growth > 1:
        problems.append(f"memory grew by {growth:.1f} MiB in the second half")
    problems += [f"strange event: {line.strip()}" for line in strange[:5]]
    talk = (folder / "server.err").read_text()
    if talk:
        problems.append(f"stderr: {talk[:200]}")
    print(f"{messages:,} messages recorded by {listeners} listeners; server {share:.2f} % of a core, "
          f"{statistics.median(memory):.1f} MiB (second half {half[0]:.1f} to {half[-1]:.1f})")
    print("proven: nothing missed, nothing repeated, memory flat" if not problems else "\n".join(["NOT PROVEN:", *problems]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
