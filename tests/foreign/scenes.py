"""What a server could have to tell: topics, clients, reports, events, second by second.

A scene knows nothing of how it is served. `fake.py` plays it; with real clients of that kind a real server would tell the same.
"""

import math
import random

CAUSES = ("source-limited", "client slow", "network slow", "server slow", "silent", "unclear")
WHY = {
    "source-limited": "The block took as long as the source took to make it.",
    "client slow": "We sent in time and the network took it; the client reads late.",
    "network slow": "The way to the client is full or loses packets.",
    "server slow": "Many fall behind at once, or we were late: it is us.",
    "silent": "Stopped or unreachable; it is closed when a ping stays unanswered.",
    "unclear": "It sends no reports; only what waits here is known.",
}


class Client:
    """One client, as a server knows it."""

    def __init__(self, session, name, cause="source-limited", behind_ms=0.0, elapsed_ms=2000.0, server_ms=2000.0, topic="arrays", **more):
        self.session, self.name, self.cause = session, name, cause
        self.behind_ms, self.elapsed_ms, self.server_ms, self.topic = behind_ms, elapsed_ms, server_ms, topic
        self.address = more.get("address", f"127.0.0.1:{40000 + session}")
        self.rtt_ms, self.waits, self.lag = more.get("rtt_ms", 0.2), more.get("waits", 0), more.get("lag", 0)
        self.age_s, self.quiet_s = more.get("age_s", 7440), more.get("quiet_s", 24)
        self.mode = more.get("mode", "lapwing.v1")
        self.server = {"server": more["server"]} if "server" in more else {}
        """Where it is, where several servers are shown."""

    @property
    def place(self):
        """What tells it from all others."""
        return self.server.get("server"), self.session

    def row(self, clock):
        """A row of `/api/clients`. `clock(seconds ago)` gives a time as text."""
        topic = {"topic": self.topic, "next": 105, "lag": self.lag}
        row = {
            **self.server, "session": self.session, "client": self.name, "address": self.address, "mode": self.mode, "since": clock(self.age_s),
            "cause": self.cause, "why": WHY[self.cause], "messages": 205, "bytes": 21299, "waits_bytes": self.waits,
            "rtt_ms": self.rtt_ms, "rtt_min_ms": 0.1, "retransmits": 0, "topics": [topic],
        }
        if self.cause == "unclear":
            return row
        row["behind_ms"] = self.behind_ms
        topic |= {
            "cause": self.cause, "behind_ms": self.behind_ms, "block": 8, "block_size": 5, "reported": 84, "elapsed_ms": self.elapsed_ms, "server_ms": self.server_ms,
            "reported_at": clock(self.quiet_s if self.cause == "silent" else 1), "drift_ms": self.elapsed_ms - self.server_ms,
            "latency_ms": self.behind_ms + 0.1, "latency_error_ms": 0.1,
        }
        if self.cause in ("client slow", "network slow", "server slow"):
            topic["slow_since"] = clock(20)
        return row

    def report(self, block, time, flags=()):
        """One report of it, as `$reports` has it."""
        counts = not flags
        return {
            **self.server, "event": "report", "time": time, "session": self.session, "client": self.name, "topic": self.topic, "block": block, "blocks": 1,
            "block_size": 5, "first": block * 5, "last": block * 5 + 4, "messages": 5, "elapsed_ms": self.elapsed_ms if counts else None,
            "spread_ms": 0.1, "server_ms": self.server_ms, "drift_ms": self.elapsed_ms - self.server_ms if counts else None,
            "behind_ms": self.behind_ms, "cause": self.cause, "flags": list(flags),
        }


class Scene:
    """What there is at the start, and what each second changes."""

    topics = ("users", "arrays")
    state = "on time"
    late_ms = 0.4
    may_watch = True
    history_s = 0

    def clients(self):
        return []

    def servers(self, clock):
        """The servers that share the topics, as `/api/servers` has them."""
        return []

    def leave(self, session):
        """A client goes, and does nothing more."""
        self.here = [client for client in self.here if client.session != session]

    def second(self, number):
        """What one second brings: `("row", client)`, `("left", session)`, `("report", client, block, flags)`, `("event", fields)`,
        `("message", topic, data)`."""
        for topic, data in (("users", {"name": "Mara Lindqvist", "sex": "female"}), ("arrays", [83, 7, 44, 91, 12])):
            if topic in self.topics:
                yield "message", topic, data


class Nobody(Scene):
    """Both topics run, and nobody listens."""


class Staged(Scene):
    """The four kinds of trouble, one client each, among some that keep up."""

    history_s = 300

    def __init__(self, well=8):
        self.here = [
            Client(1, "sensor-2", "client slow", 8800.0, 6000.1),
            Client(2, "attic", "network slow", 800.0, 2400.0, rtt_ms=480.0, waits=1638, lag=3),
            Client(3, "probe-9", "silent", 0.0, age_s=720),
            Client(4, "curl", "unclear", mode="plain", rtt_ms=0.3),
            *(Client(5 + place, f"sensor-{5 + place}") for place in range(well)),
        ]

    def clients(self):
        return self.here

    def second(self, number):
        yield from super().second(number)
        if number % 2 == 0:
            for place, client in enumerate(self.here):
                if client.cause not in ("silent", "unclear"):
                    wave = 300 * math.sin(number / 9 + place) if client.cause != "source-limited" else 2 * math.sin(number + place)
                    client.elapsed_ms = {"client slow": 6000, "network slow": 2400}.get(client.cause, 2000) + wave
                    flags = ("interrupted",) if client.session == 2 and number % 60 == 0 else ()
                    yield "report", client, number // 2, flags
                    yield "row", client
        if number % 10 == 1:
            yield "event", {"event": "said", "session": 4, "client": "curl", "address": "127.0.0.1:40004", "text": "Time taken to receive 5 messages: 1.4612 s"}
        if number == 2:
            yield "event", {"event": "joined", "session": 1, "client": "sensor-2", "address": "127.0.0.1:40001", "mode": "lapwing.v1", "from": {"arrays": 35}, "waiting": 0}
            yield "event", {"event": "slow", "session": 1, "client": "sensor-2", "topic": "arrays", "behind_ms": 8800.0, "blocks": 2, "waiting": 0, "cause": "client slow"}
            yield "event", {"event": "left", "session": 99, "client": "gone", "code": 1000, "by": "client", "reason": "", "stayed_ms": 1463.0, "messages": 5, "bytes": 520, "last": {"arrays": 54}}


class Fleet(Staged):
    """Three servers: the page's own, one that is behind a stream, and one that is gone. Each numbers its clients from 1."""

    def __init__(self):
        names = ("sensor-2", "attic", "probe-9", "curl")
        self.here = [
            Client(1, names[0], "client slow", 8800.0, 6000.1, server="lapwing-2"),
            Client(1, names[1], "network slow", 800.0, 2400.0, rtt_ms=480.0, waits=1638, lag=3, server="lapwing-1"),
            Client(2, names[2], "silent", 0.0, age_s=720, server="lapwing-2"),
            *(Client(2 + place, f"sensor-{5 + place}", server="lapwing-1") for place in range(4)),
            *(Client(3 + place, f"sensor-{9 + place}", server="lapwing-2") for place in range(4)),
        ]

    def servers(self, clock):
        def server(name, lag=0, **more):
            topics = [{"topic": topic, "next": 1400 - lag, "end": 1400, "lag": lag if topic == "arrays" else 0, "stale": False} for topic in self.topics]
            clients = sum(client.server["server"] == name for client in self.here)
            return {
                "server": name, "id": f"{hash(name) % 16**16:016x}", "self": False, "state": "there", "heard_ms": 204, "address": f"192.0.2.{name[-1]}:8765",
                "version": "0.1.0", "started": clock(7440), "clients": clients, "topics": topics, **more,
            }

        return [server("lapwing-1", self=True, heard_ms=0), server("lapwing-2", lag=1204), server("lapwing-3", state="gone", heard_ms=62_000)]

    def second(self, number):
        for what in super().second(number):
            if what[0] != "event":
                yield what
        if number == 2:
            yield "event", {"server": "lapwing-1", "event": "peer", "peer": "lapwing-3", "state": "gone", "silent_ms": 6004.0}
            yield "event", {"server": "lapwing-2", "event": "slow", "session": 1, "client": "sensor-2", "topic": "arrays", "behind_ms": 8800.0, "blocks": 2, "waiting": 0, "cause": "client slow"}


class Crowd(Scene):
    """A thousand clients, each of which changes every second."""

    history_s = 60

    def __init__(self, count=1000, seed=1):
        self.random = random.Random(seed)
        self.here = [Client(1 + place, f"client-{1 + place:04}") for place in range(count)]
        for place, cause in enumerate(("client slow", "network slow", "silent")):
            self.here[place].cause, self.here[place].behind_ms = cause, 9000.0 - 1000 * place

    def clients(self):
        return self.here

    def second(self, number):
        yield from super().second(number)
        for client in self.here:
            if client.cause == "source-limited":
                client.behind_ms = self.random.uniform(0, 400)
            client.elapsed_ms = client.server_ms + client.behind_ms / 4
            client.rtt_ms = self.random.uniform(0.1, 0.9)
            yield "row", client
            if client.session % 2 == number % 2:
                yield "report", client, number // 2, ()


class Many(Scene):
    """More clients than a page lists, none of which changes."""

    def __init__(self, count=1500):
        self.here = [Client(1 + place, f"client-{1 + place:04}", behind_ms=float(count - place)) for place in range(count)]

    def clients(self):
        return self.here


class ManyTopics(Scene):
    """More topics than one connection may follow."""

    topics = tuple(f"topic-{1 + place:03}" for place in range(150))

    def second(self, number):
        for topic in self.topics:
            yield "message", topic, number


HOSTILE_NAMES = ("<script>alert(1)</script>", "\x1b[2J\x1b]0;title\x07", "\u202etxt.exe\u2066", "a" * 64, '"><img src=x onerror=alert(2)>', "\u0435\u0301\u0300" * 20)


class Hostile(Scene):
    """Names and texts that would drive a page, if it let them."""

    topics = ("orders",)

    def clients(self):
        return [Client(1 + place, name, "client slow", 1000.0 * place) for place, name in enumerate(HOSTILE_NAMES)]

    def second(self, number):
        if number == 0:
            for place, client in enumerate(self.clients()):
                yield "report", client, 1, ()
                yield "event", {"event": "said", "session": 1 + place, "client": client.name, "address": "x", "text": client.name}
                yield "event", {"event": "slow", "session": 1 + place, "client": client.name, "topic": "orders", "behind_ms": 1.0, "blocks": 2, "waiting": 0, "cause": client.name}
                yield "message", "orders", client.name
            yield "message", "orders", "A" * 1_000_000
            yield "event", {"event": "said", "session": 1, "client": "loud", "address": "x", "text": "B" * 1_000_000}


class Stranger(Scene):
    """One who may listen, and may not watch."""

    may_watch = False


class Waiting(Scene):
    """A topic that is filled by publishing, and nobody has published."""

    topics = ("orders",)
    state = "waiting"

    def second(self, number):
        return iter(())


class Stalled(Staged):
    """A source that makes less than was asked, and a server that is late."""

    state = "slow"
    late_ms = 380.0
