#!/usr/bin/env python3
"""How fast does one core receive, check, time and record messages?

A server in another process holds MESSAGES of 250 bytes in memory. `lapwing listen --from earliest --count MESSAGES --log FILE --quiet` takes
them over loopback, checks each offset, times blocks of five, reports them and writes NDJSON. The figure is messages per second of the
listener's own CPU time, as the system counts it for the process and all its threads; on a busy machine the wall clock says little.
Usage: run.py [MESSAGES, 1000000 by default] [ROUNDS, 5 by default] [FOLDER of the file, a temporary one by default]
"""
import http.client
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, binary, machine  # noqa: E402

BODY_MESSAGES = 4000
MESSAGE_BYTES = 250


def message(number):
    """One JSON value of 250 bytes, newline not counted."""
    head = '{"number":%d,"text":"' % number
    return head + "x" * (MESSAGE_BYTES - len(head) - 2) + '"}'


def fill(server, messages):
    """Publishes so many messages."""
    connection = http.client.HTTPConnection(urlparse(server.url).netloc)
    for first in range(0, messages, BODY_MESSAGES):
        body = "".join(message(number) + "\n" for number in range(first, min(first + BODY_MESSAGES, messages)))
        connection.request("POST", "/topics/bench/messages", body, {"Content-Type": "application/x-ndjson"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 201:
            sys.exit(f"not published: {answer.status} {said.decode()}")
    connection.close()


def listen(server, messages, log):
    """Records them all; wall and CPU seconds of the listener."""
    command = [binary(), "listen", server.url, "--topics", "bench", "--from", "earliest", "--count", str(messages), "--quiet", "--log", log]
    began = time.perf_counter()
    listener = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(listener.pid, 0)
    took = time.perf_counter() - began
    listener.returncode = os.waitstatus_to_exitcode(status)
    if listener.returncode != 0:
        sys.exit(f"the listener ended with {listener.returncode}")
    return took, usage.ru_utime, usage.ru_stime


def main():
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    folder = sys.argv[3] if len(sys.argv) > 3 else None
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}")
    server = Server("--topic", "bench=push?keep=24h&keep_bytes=8GiB", "--max-body", "4MiB", stderr=subprocess.DEVNULL)
    fill(server, messages)
    rates, each, speeds = [], [], []
    with tempfile.TemporaryDirectory(dir=folder) as folder:
        for nth in range(rounds):
            log = os.path.join(folder, "feed.ndjson")
            before = server.cpu_seconds()
            took, user, system = listen(server, messages, log)
            serving = server.cpu_seconds() - before
            size = os.path.getsize(log)
            if nth == 0:
                subprocess.run([binary(), "verify", log], check=True, stdout=subprocess.DEVNULL)
            os.remove(log)
            rates.append(messages / (user + system))
            speeds.append(messages / took)
            each.append((user, system))
            print(f"round {nth + 1}: {rates[-1] / 1e6:.2f} M messages per CPU second ({user:.2f} s user, {system:.2f} s system), "
                  f"{speeds[-1] / 1e6:.2f} M/s by the clock, {size / messages:.0f} bytes a line; the server {serving:.2f} s of CPU")
    server.stop()
    user, system = (statistics.median(part) for part in zip(*each))
    print(f"{statistics.median(rates) / 1e6:.2f} M messages per CPU second ({min(rates) / 1e6:.2f}-{max(rates) / 1e6:.2f}), "
          f"{user / messages * 1e9:.0f} ns user and {system / messages * 1e9:.0f} ns system each; "
          f"{statistics.median(speeds) / 1e6:.2f} M/s by the clock; {messages:,} messages, {rounds} rounds")


if __name__ == "__main__":
    main()
