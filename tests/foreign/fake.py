"""A server that tells what a scene tells it: the page's files as the program serves them, `/api/*`, and `lapwing.v1`.

For what a real server is slow to come to: a thousand clients, a client that is slow, a right that is missing.
"""

import datetime
import json
import pathlib
import re
import secrets
import threading
import urllib.parse

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.sync.server import serve

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "crates/lapwing/page"
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html", ".txt": "text/plain"}
KEPT = 5000
"""Messages of a topic."""


def policy():
    """The policy that the program sends with the page."""
    source = (ROOT / "crates/lapwing/src/server/page.rs").read_text()
    return re.sub(r"\\\n\s*", "", re.search(r'const POLICY: &str =\s*"([^"]*)"', source)[1])


def clock(ago_s=0.0):
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ago_s)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Log:
    """One topic: messages as text, from `first` on."""

    def __init__(self, topic):
        self.topic, self.epoch, self.first, self.frames, self.bytes = topic, secrets.token_hex(16), 0, [], 0

    @property
    def next(self):
        return self.first + len(self.frames)

    def append(self, data, at):
        frame = f'{{"topic":"{self.topic}","offset":{self.next},"time":"{at}","data":{json.dumps(data, ensure_ascii=False, separators=(",", ":"))}}}'
        self.frames.append(frame)
        self.bytes += len(frame)
        if len(self.frames) > KEPT:
            self.bytes -= len(self.frames.pop(0))
            self.first += 1
        return frame

    def begin(self, command):
        """Where a reader begins, and how that relates to what it asked for."""
        if "offset" in command:
            if command.get("epoch", self.epoch) != self.epoch or command["offset"] > self.next:
                return self.first, {"answer": "reset"}
            if command["offset"] < self.first:
                return self.first, {"answer": "gap", "missing_from": command["offset"]}
            return command["offset"], {"answer": "ok"}
        last = re.fullmatch(r"last:(\d+)", command.get("from", "latest"))
        return max(self.first, self.next - int(last[1])) if last else self.next, {"answer": "ok"}


class Fake:
    """Serves one scene until it is left."""

    def __init__(self, scene, port=0):
        self.scene = scene
        self.lock = threading.RLock()
        self.logs = {name: Log(name) for name in (*scene.topics, "$clients", "$reports", "$events")}
        self.started, self.number, self.delivered = clock(), 0, 0
        self.rows = {client.place: client for client in scene.clients()}
        self.followers = {}
        self.commands, self.paths = [], []
        self.failing = set()
        """Paths that are answered with 503."""
        self.hanging = set()
        """Paths that are not answered."""
        self._sessions = 9000
        self._stop = threading.Event()
        for ago in range(scene.history_s, 0, -1):
            self._second(ago)
        self._server = serve(self._talk, "127.0.0.1", port, process_request=self._answer, compression=None, max_size=None, subprotocols=["lapwing.v1"])
        self.port = self._server.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._server.serve_forever, self._play)]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stop.set()
        self._server.shutdown()
        with self.lock:
            talks = list(self.followers)
        for talk in talks:
            talk.close(1012, "server restarts retry=300")
        for thread in self._threads:
            thread.join(10)

    def http(self, path="/"):
        return f"http://{self.address}{path}"

    def counts(self):
        counts = dict.fromkeys(("source-limited", "client slow", "network slow", "server slow", "silent", "unclear"), 0)
        for client in self.rows.values():
            counts[client.cause] += 1
        counts["unclear"] += len(self.followers)
        return {"clients": len(self.rows) + len(self.followers), "counts": counts}

    def tell(self, *what):
        """Brings what a second of a scene can bring."""
        with self.lock:
            self._bring(what, 0)

    def _play(self):
        while not self._stop.wait(1):
            with self.lock:
                self._second(0)

    def _second(self, ago):
        for what in self.scene.second(self.number):
            self._bring(what, ago)
        self._append("$clients", {"summary": self.counts()}, ago)
        self.number += 1

    def _bring(self, what, ago):
        kind, *rest = what
        match kind:
            case "message":
                self._append(rest[0], rest[1], ago)
            case "row":
                (client,) = rest
                self.rows[client.place] = client
                if ago < 30:
                    self._append("$clients", client.row(lambda back: clock(back + ago)), ago)
            case "left":
                self.rows.pop((None, rest[0]), None)
                self.scene.leave(rest[0])
                self._append("$clients", {"session": rest[0], "left": True}, ago)
                self._append("$clients", {"summary": self.counts()}, ago)
            case "report":
                client, block, flags = rest
                self._append("$reports", client.report(block, clock(ago), flags), ago)
            case "event":
                self._append("$events", {**rest[0], "time": clock(ago)}, ago)

    def _append(self, topic, data, ago):
        frame = self.logs[topic].append(data, clock(ago))
        self.delivered += 3500 / 2 if not topic.startswith("$") else 0
        for talk, followed in list(self.followers.items()):
            if topic in followed:
                try:
                    talk.send(frame)
                except ConnectionClosed:
                    self.followers.pop(talk, None)

    def _answer(self, connection, request):
        url = urllib.parse.urlsplit(request.path)
        self.paths.append(request.path)
        if "Upgrade" in request.headers:
            return None
        while url.path in self.hanging and not self._stop.wait(0.05):
            pass
        with self.lock:
            return self._file(url.path) or self._told(url.path, dict(urllib.parse.parse_qsl(url.query)))

    def _file(self, path):
        place = (PAGE / ("index.html" if path == "/" else path.lstrip("/"))).resolve()
        if not place.is_file() or PAGE not in place.parents:
            return None
        return respond(200, place.read_bytes(), KINDS[place.suffix], {"Content-Security-Policy": policy(), "Referrer-Policy": "no-referrer"})

    def _told(self, path, query):
        if path not in ("/api/topics", "/api/clients", "/api/reports", "/api/servers"):
            return respond(404, b"nothing is here\n", "text/plain")
        if path in self.failing:
            return respond(503, b"not now\n", "text/plain")
        if path == "/api/topics":
            told = self._topics()
        elif not self.scene.may_watch:
            return respond(403, b"this is for the server's own machine\n", "text/plain")
        elif path == "/api/servers":
            told = {"time": clock(), "servers": self.scene.servers(clock)}
        elif path == "/api/clients":
            found = [row for row in (client.row(clock) for client in self.rows.values()) if query.get("search", "") in row["client"]]
            found.sort(key=lambda row: (row["cause"] in ("source-limited", "unclear"), -row.get("behind_ms", -1)))
            told = {"position": self._position("$clients"), "time": clock(), **self.counts(), "rows": found[: int(query.get("limit", 1000))]}
        else:
            reports = [json.loads(frame)["data"] for frame in self.logs["$reports"].frames[-int(query.get("limit", 1000)):]]
            told = {"position": self._position("$reports"), "reports": reports}
        return respond(200, json.dumps(told).encode(), "application/json")

    def _position(self, topic):
        return {"topic": topic, "epoch": self.logs[topic].epoch, "offset": self.logs[topic].next}

    def _topics(self):
        scene = self.scene
        topics = []
        for name in scene.topics:
            log = self.logs[name]
            pace = {"waiting": 0.0, "slow": 0.2}.get(scene.state, 1.0)
            told = {
                "topic": name, "epoch": log.epoch, "first": log.first, "next": log.next, "level": "none",
                "source": "push" if scene.state == "waiting" else f"{name}?every=1s", "state": scene.state, "quiet_ms": 204.0, "achieved_per_s": pace,
                "bytes_per_s": 342.1 * pace, "followers": 1, "missed": 0, "delivered": {"messages": 0, "bytes": 0},
                "retained": {"messages": len(log.frames), "bytes": log.bytes, "bytes_max": 65536, "age_max_ms": 60000.0},
            }
            topics.append(told if scene.state == "waiting" else {**told, "asked_per_s": 1.0})
        return {
            "server": "lapwing/0.1.0", "started": self.started, "time": clock(), "clients": len(self.rows), "late_ms": scene.late_ms,
            "delivered": {"messages": int(self.delivered), "bytes": 1}, "topics": topics,
        }

    def _talk(self, talk):
        with self.lock:
            self._sessions += 1
            followed = self.followers[talk] = set()
            talk.send(json.dumps({
                "type": "welcome", "session": self._sessions, "name": "page", "server": "lapwing/0.1.0", "topics": list(self.scene.topics),
                "report_interval_ms": 1000, "heartbeat_ms": 10000,
            }, separators=(",", ":")))
        try:
            for text in talk:
                with self.lock:
                    self._obey(talk, followed, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            with self.lock:
                self.followers.pop(talk, None)

    def _obey(self, talk, followed, command):
        self.commands.append(command)
        topic = command.get("topic")
        log = self.logs.get(topic)

        def send(kind, **fields):
            talk.send(json.dumps({"type": kind, **fields}, separators=(",", ":")))

        if log is None or (topic.startswith("$") and not self.scene.may_watch):
            send("error", code="unknown_topic" if log is None else "not_allowed", message="not for you", topic=topic)
        elif command["type"] == "unsubscribe":
            followed.discard(topic)
            send("unsubscribed", topic=topic)
        else:
            begin, answer = log.begin(command)
            send("subscribed", topic=topic, epoch=log.epoch, first=log.first, next=log.next, level="none", **{"from": begin}, **answer)
            for frame in log.frames[begin - log.first:]:
                talk.send(frame)
            followed.add(topic)


def respond(status, body, kind, more=()):
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-cache", "Connection": "close"})
    headers.update(dict(more))
    return Response(status, "", headers, body)
