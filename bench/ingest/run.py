#!/usr/bin/env python3
"""How many messages a second come into a topic, and how many for each second of the server's CPU time?

Messages of 250 bytes of JSON, a line each: by `stdin` through a pipe, by `exec:cat FILE`, by POST of bodies of 1,000 lines over
one connection and over four, by `lapwing publish`; into memory, and the last three with --data at both levels. Beside them
what a pipe of the same file costs alone (`cat FILE | wc -l`), and what a body alone costs at `fsync` (a write and a sync of its bytes).
Each run ends when the server has everything, and it is asked for its last message.
Usage: run.py [LINES] [ROUNDS] [NAME OF A RUN]...
"""
import json
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lapwing_bench import Server, binary, machine  # noqa: E402

MESSAGE_BYTES = 250
BODY_LINES = 1000


def line(number):
    """One message: fields as a feed has them, as compact as most programs write them."""
    start = (f'{{"id":{number},"name":"sensor-{number % 97}","ok":true,"place":{{"lat":{47 + number % 7}.5,"lon":-8.25}},'
             f'"values":[{number % 10},-1.5,2e3,null],"text":"')
    return start + "x y " * ((MESSAGE_BYTES - len(start) - 2) // 4) + "z" * ((MESSAGE_BYTES - len(start) - 2) % 4) + '"}\n'


def make_file(directory, lines):
    path = pathlib.Path(directory, "feed.ndjson")
    with path.open("w") as file:
        file.writelines(line(number) for number in range(lines))
    return path


def newest(server, topic):
    """The offset of a topic's last message, as a plain client gets it."""
    place = urlparse(server.url)
    with socket.create_connection((place.hostname, place.port)) as client:
        client.sendall(f"GET /?topics={topic}&from=last:1 HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: Upgrade\r\nUpgrade: "
                       "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        came = b""
        while b'"time"' not in came:
            more = client.recv(4096)
            if not more:
                sys.exit(f"no message: {came.decode(errors='replace')}")
            came += more
    return int(came.split(b'"offset":', 1)[1].split(b",", 1)[0])


class Run:
    """Time and CPU of one run; the server stops when it is over."""

    def __init__(self, topic, *arguments, stdin=None):
        self.server = Server("--topic", f"feed={topic}", *arguments, stdin=stdin, stderr=subprocess.DEVNULL)

    def measure(self, lines, feed):
        """Feeds, and gives messages a second and messages for each second of CPU."""
        cpu, began = self.server.cpu_seconds(), time.monotonic()
        feed(self.server)
        took, cpu = time.monotonic() - began, self.server.cpu_seconds() - cpu
        last = newest(self.server, "feed")
        self.server.stop()
        if last != lines - 1:
            sys.exit(f"the last offset is {last}, of {lines} messages")
        return lines / took, lines / max(cpu, 0.01)


def wait_for_end(server):
    """Until the server tells that its source has ended."""
    for told in iter(server.process.stdout.readline, ""):
        event = json.loads(told)
        if event["event"] == "source" and "ended" in event["text"]:
            return
    sys.exit("the server has ended before its source")


def by_stdin(path, lines, _):
    reads, writes = os.pipe()
    run = Run("stdin", stdin=reads)
    os.close(reads)

    def feed(server):
        with subprocess.Popen(["cat", path], stdout=writes):
            os.close(writes)
            wait_for_end(server)
    return run.measure(lines, feed)


def by_exec(path, lines, _):
    gate = path.with_name("gate")
    gate.unlink(missing_ok=True)
    os.mkfifo(gate)
    run = Run(f"exec:cat {gate}; cat {path}")

    def feed(server):
        with gate.open("w"):
            pass
        wait_for_end(server)
    return run.measure(lines, feed)


def bodies(path):
    """The file's lines in bodies."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [b"".join(lines[at:at + BODY_LINES]) for at in range(0, len(lines), BODY_LINES)]


def post(place, some):
    """Posts bodies one after the other over one connection."""
    with socket.create_connection((place.hostname, place.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for body in some:
            head = (f"POST /topics/feed/messages HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/x-ndjson\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n")
            client.sendall(head.encode() + body)
            answer = client.recv(65536)
            if not answer.startswith(b"HTTP/1.1 201"):
                sys.exit(answer.decode(errors="replace"))


def by_post(connections):
    def run(path, lines, arguments):
        some = bodies(path)

        def feed(server):
            place = urlparse(server.url)
            threads = [threading.Thread(target=post, args=(place, some[at::connections])) for at in range(connections)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return Run("push", *arguments).measure(lines, feed)
    return run


def by_publish(path, lines, arguments):
    def feed(server):
        with path.open("rb") as file:
            subprocess.run([binary(), "publish", server.url, "feed"], stdin=file, check=True, stderr=subprocess.DEVNULL)
    return Run("push", *arguments).measure(lines, feed)


def floor_of_a_pipe(path, lines, _):
    """`cat | wc -l`, and the CPU time of wc."""
    began = time.monotonic()
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(["wc", "-l"], stdin=cat.stdout, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = time.monotonic() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return lines / took, lines / max(cpu, 0.01)


def floor_of_syncs(path, lines, _):
    """A write and an fdatasync of each body, and the time on a CPU."""
    some = bodies(path)
    began, cpu = time.monotonic(), time.process_time()
    with path.with_name("synced").open("wb", buffering=0) as file:
        for body in some:
            file.write(body)
            os.fdatasync(file.fileno())
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    path.with_name("synced").unlink()
    return lines / took, lines / max(cpu, 0.01)


def runs():
    """Each run's name, how it feeds, and the level of a topic that is kept."""
    yield "cat | wc -l", floor_of_a_pipe, None
    yield "stdin", by_stdin, None
    yield "exec", by_exec, None
    for level in (None, "os", "fsync"):
        end = f", {level}" if level else ""
        if level == "fsync":
            yield "write and sync", floor_of_syncs, None
        yield f"post, 1{end}", by_post(1), level
        yield f"post, 4{end}", by_post(4), level
        yield f"publish{end}", by_publish, level


def main():
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    wanted = sys.argv[3:]
    print(machine())
    print(f"{lines:,} messages of {MESSAGE_BYTES} bytes; millions a second, and for each second of the server's CPU")
    seen = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
        path = make_file(directory, lines)
        for nth in range(rounds):
            for name, feed, level in runs():
                if wanted and name not in wanted:
                    continue
                with tempfile.TemporaryDirectory(dir=directory) as data:
                    arguments = ["--data", data, "--durability", level] if level else []
                    seen.setdefault(name, []).append(feed(path, lines, arguments))
    for name, found in seen.items():
        columns = []
        for values in zip(*found):
            millions = [value / 1e6 for value in values]
            columns.append(f"{statistics.median(millions):7.3f} ({min(millions):.3f}-{max(millions):.3f})")
        print(f"{name:16} {columns[0]:24} {columns[1]:24}")


if __name__ == "__main__":
    main()
