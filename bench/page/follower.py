#!/usr/bin/env python3
"""What the page asks of a server, asked without a browser: its files, `/api/*`, and one stream with the topics that it follows.

All that comes is read and nothing is done with it, so what is left of the page's cost is the server's. The files are found as a browser
finds them: what `index.html` names, and what each module imports. Chromium and this ask a server for the same
(`test_the_follower_of_the_benchmark_asks_for_what_the_page_asks_for`). Prints a line of JSON when it has all of it, and at the end of its
standard input another: what came, and the CPU time it took itself.

  bench/page/follower.py PORT
"""
import base64
import collections
import http.client
import json
import os
import re
import select
import socket
import sys
import time

FILES = re.compile(r'(?:href|src)="(/[^"]+)"')
IMPORTS = re.compile(r'^import [^;]*?"(\.[^"]+)";', re.MULTILINE)
TOPICS_EVERY_S = 1.0
READ_BYTES = 1 << 16
TEXT, CLOSE, PING = 1, 8, 9
# How a frame begins that is not a message of a topic.
CONTROL = b'{"type":'


class Follower:
    """One open page, as a server sees it."""

    def __init__(self, port):
        self.host = f"127.0.0.1:{port}"
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.paths, self.frames, self.bytes = [], 0, 0
        self.followed, self.wanted = set(), set()
        self.rest = bytearray()
        self.files()
        self.stream = self.connect(port)

    def ask(self, path):
        """The body of an answer; the connection is kept, as a browser keeps it."""
        self.http.request("GET", path, headers={"Cache-Control": "no-cache"})
        answer = self.http.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"{path} was answered {answer.status}: {body[:200]!r}")
        self.paths.append(path)
        self.bytes += len(body)
        return body

    def files(self):
        """The page, and everything that it and its modules name, each once."""
        seen, waiting = {"/"}, collections.deque(["/"])
        while waiting:
            path = waiting.popleft()
            text = self.ask(path).decode()
            if path == "/":
                named = FILES.findall(text)
            else:
                named = [os.path.normpath(os.path.join(os.path.dirname(path), name)) for name in IMPORTS.findall(text)] if path.endswith(".js") else []
            fresh = [name for name in dict.fromkeys(named) if name not in seen]
            seen.update(fresh)
            waiting.extend(fresh)

    def connect(self, port):
        """The stream after its handshake, which offers what Chromium offers."""
        stream = socket.create_connection(("127.0.0.1", port))
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(
            f"GET /ws?name=page HTTP/1.1\r\nHost: {self.host}\r\nOrigin: http://{self.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: lapwing.v1\r\n\r\n".encode())
        head = bytearray()
        while b"\r\n\r\n" not in head:
            came = stream.recv(READ_BYTES)
            if not came:
                sys.exit(f"no stream: {bytes(head)!r}")
            head += came
        head, _, rest = bytes(head).partition(b"\r\n\r\n")
        if b" 101 " not in head or b"permessage-deflate" in head:
            sys.exit(f"not the stream that was asked for: {head!r}")
        self.rest += rest
        return stream

    def send(self, opcode, payload):
        """A masked frame. The mask is zero, which leaves the payload as it is."""
        length = bytes((0x80 | len(payload),)) if len(payload) < 126 else bytes((0x80 | 126,)) + len(payload).to_bytes(2, "big")
        self.stream.sendall(bytes((0x80 | opcode,)) + length + bytes(4) + payload)

    def command(self, **fields):
        self.send(TEXT, json.dumps(fields, separators=(",", ":")).encode())

    def follow(self, topic, **place):
        self.wanted.add(topic)
        self.command(type="subscribe", topic=topic, **place)

    def read(self):
        """Takes what is there, frame by frame."""
        came = self.stream.recv(READ_BYTES)
        if not came:
            sys.exit("the server ended the stream")
        self.bytes += len(came)
        self.rest += came
        self.take()

    def take(self):
        """Takes each whole frame of what came. Those that tell of messages are counted, and no more."""
        rest, at = self.rest, 0
        while len(rest) - at >= 2:
            length, begin = rest[at + 1], at + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                length, begin = int.from_bytes(rest[begin:begin + size], "big"), begin + size
            if len(rest) < begin + length:
                break
            opcode = rest[at] & 15
            if opcode == PING:
                self.send(10, bytes(rest[begin:begin + length]))
            elif opcode == CLOSE:
                sys.exit(f"the server ended the stream: {bytes(rest[begin:begin + length])!r}")
            elif rest.startswith(CONTROL, begin):
                self.on_control(json.loads(rest[begin:begin + length]))
            else:
                self.frames += 1
            at = begin + length
        del rest[:at]

    def on_control(self, told):
        """Does what the page does."""
        match told["type"]:
            case "welcome":
                self.follow("$events", **{"from": "last:200"})
                for topic in told["topics"]:
                    self.follow(topic, **{"from": "last:20"})
                self.ask("/api/topics")
            case "subscribed":
                self.followed.add(told["topic"])
                if told["answer"] != "ok":
                    sys.exit(f"it is behind already: {told}")
                if told["topic"] == "$events":
                    self.watch()
            case "gap" | "error":
                sys.exit(f"it does not follow any more: {told}")

    def watch(self):
        """Clients and reports: what there is already, then what changes."""
        self.ask("/api/servers")
        for path, topic in (("/api/clients?limit=1000", "$clients"), ("/api/reports?limit=10000", "$reports")):
            position = json.loads(self.ask(path))["position"]
            self.follow(topic, epoch=position["epoch"], offset=position["offset"])

    def run(self, until):
        """Follows until this can be read; says once that it has everything."""
        self.take()
        due, is_ready = time.monotonic() + TOPICS_EVERY_S, False
        while True:
            readable, _, _ = select.select([self.stream, until], [], [], max(0.0, due - time.monotonic()))
            if until in readable:
                return
            if self.stream in readable:
                self.read()
            if not is_ready and "$reports" in self.followed and self.followed == self.wanted:
                is_ready = True
                print(json.dumps({"followed": sorted(self.followed)}), flush=True)
            if time.monotonic() >= due:
                due += TOPICS_EVERY_S
                self.ask("/api/topics")


def main():
    follower = Follower(int(sys.argv[1]))
    follower.run(sys.stdin)
    print(json.dumps({"paths": follower.paths, "frames": follower.frames, "bytes": follower.bytes, "cpu_seconds": time.process_time()}))


if __name__ == "__main__":
    main()
