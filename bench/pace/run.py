#!/usr/bin/env python3
"""Does a source keep the rate that it was asked for?

Question: is a feed of 1,000/s for 60 s 60,000 messages, give or take one tick? Counts offsets against the server's own
times of its messages, so neither the network nor the listener's start matters.
Usage: run.py [RATE] [SECONDS]
"""
import json
import pathlib
import subprocess
import sys
from datetime import datetime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, binary, machine  # noqa: E402


def main():
    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    server = Server("--topic", f"t=users?rate={rate:g}/s", stderr=subprocess.DEVNULL)
    listener = subprocess.Popen(
        [binary(), "listen", server.url, "--json", "--for", f"{int((seconds + 1) * 1000)}ms"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    first = last = None
    worst = 0.0
    for line in listener.stdout:
        if not line.startswith('{"topic"'):
            continue
        message = json.loads(line)
        now = message["offset"], datetime.fromisoformat(message["time"]).timestamp()
        first = first or now
        if now[1] - first[1] > seconds:
            break
        last = now
        worst = max(worst, abs((now[1] - first[1]) * rate - (now[0] - first[0])))
    listener.terminate()
    server.stop()
    made, took = last[0] - first[0], last[1] - first[1]
    print(machine())
    print(f"asked {rate:g}/s; made {made} in {took:.3f} s: {made / took:.3f}/s")
    print(f"off the schedule by at most {worst:.1f} messages at any time, at the end by {made - took * rate:+.1f}")


if __name__ == "__main__":
    main()
