#!/usr/bin/env python3
"""How long until 10,000 listeners are served that come back at once after the server was killed, a thousand messages behind each?

The server keeps its topic on disk (level os). All listeners connect and receive a first thousand live; the server is killed
with SIGKILL and started again on the same data, and a second thousand is published; then all listeners come back at once,
each from the offset that it wants next. Every listener must have every offset once. Server and listeners are pinned to different cores.
Usage: run.py [LISTENERS] [MESSAGES] [ROUNDS]
"""
import contextlib
import http.client
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "delivery"))
from lapwing_bench import binary, cores, free_port, machine, pinned, proportional_memory, stop, wait_for_port  # noqa: E402
from servers import program  # noqa: E402

FILL = "x" * 170


def serve(running, port, data, core_set):
    """A server with what `data` holds; killed when `running` is left."""
    process = subprocess.Popen(
        [binary(), "serve", "--listen", f"127.0.0.1:{port}", "--data", data, "--durability", "os", "--topic", "feed=push"],
        preexec_fn=pinned(core_set), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running.callback(stop, process)
    wait_for_port(port, process)
    return process


def publish(port, count):
    """Messages in one body; the server's answer."""
    body = "".join(json.dumps({"n": n, "fill": FILL}) + "\n" for n in range(count))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/topics/feed/messages", body, {"Content-Type": "application/x-ndjson"})
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    if answer.status != 201:
        sys.exit(f"not published: {answer.status} {said}")
    return json.loads(said)


class Storm:
    """The listeners."""

    def __init__(self, running, port, listeners, start, core_set):
        self.process = subprocess.Popen(
            [program("delivery", "storm"), "--port", str(port), "--clients", str(listeners), "--epoch", start["epoch"],
             "--from", str(start["last"] + 1)],
            preexec_fn=pinned(core_set), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.callback(stop, self.process)

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the listeners failed at {command!r}")
        return json.loads(line)


def run(listeners, messages, places):
    """One storm: seconds until all have everything, and what was wrong."""
    with contextlib.ExitStack() as running:
        data = running.enter_context(tempfile.TemporaryDirectory(prefix="lapwing-storm-"))
        port = free_port()
        server = serve(running, port, data, places.server)
        storm = Storm(running, port, listeners, start := publish(port, 1), places.load)
        next_offset = start["last"] + 1
        storm.do(f"until {next_offset}")
        publish(port, messages)
        storm.do(f"until {next_offset + messages}")
        server.kill()
        server.wait()
        storm.do("lost")
        server = serve(running, port, data, places.server)
        publish(port, messages)
        figures = storm.do(f"until {next_offset + 2 * messages}")
        figures["memory"] = proportional_memory(server.pid)
        return figures


def main():
    listeners, messages, rounds = (int(typed) for typed in (sys.argv[1:] + ["10000", "1000", "5"][len(sys.argv) - 1:])[:3])
    places = cores()
    print(machine(), *places.warnings, sep="\n")
    seconds, wrong = [], 0
    for nth in range(rounds):
        done = run(listeners, messages, places)
        # What was jumped over was not received either.
        lost = listeners * 2 * messages - done["received"] + done["repeated"]
        wrong += lost + done["repeated"] + listeners - done["done"]
        seconds.append(done["seconds"])
        print(f"round {nth + 1}: {done['done']:,} of {listeners:,} have everything after {done['seconds']:.2f} s, the last handshake after "
              f"{done['answered_seconds']:.2f} s; lost {lost}, repeated {done['repeated']}; "
              f"server {done['memory'] / 2**20:.1f} MiB; the listeners waited {done['idle']:.0%} of the time", flush=True)
    total = listeners * messages / statistics.median(seconds)
    print(f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f}), {total / 1e6:.2f} M messages a second; "
          + ("nothing lost, nothing twice" if not wrong else "NOT everything exactly once"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
