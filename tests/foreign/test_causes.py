"""A client in another language that sleeps over each message, and says so in its reports: whose fault it is, wherever that is told."""

import contextlib
import json
import threading
import time
import urllib.request

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from program import DEADLINE_S, Server, until

READS_LATE = "We sent in time and the network took it; the client reads late."
BLOCK = 5


class Sleeper(threading.Thread):
    """Follows `arrays`, sleeps over each message, and reports its blocks of five by the arithmetic of PROTOCOL.md."""

    def __init__(self, server, name, sleeps_s):
        super().__init__(daemon=True)
        self._connect = connect(server.ws(f"?topics=arrays&name={name}"), subprotocols=["lapwing.v1"])
        self._sleeps_s = sleeps_s

    def __enter__(self):
        self._socket = self._connect.__enter__()
        self.start()
        return self

    def __exit__(self, *why):
        self._connect.__exit__(*why)
        self.join(DEADLINE_S)

    def run(self):
        # The test ends it in the midst of a message.
        with contextlib.suppress(ConnectionClosed):
            self._work()

    def _work(self):
        ended, reported, blocks = None, time.monotonic(), []
        for text in self._socket:
            message = json.loads(text)
            if "offset" not in message or "type" in message:
                continue
            time.sleep(self._sleeps_s)
            if message["offset"] % BLOCK != BLOCK - 1:
                continue
            now = time.monotonic()
            if ended is not None:
                blocks.append((now - ended) * 1000)
            ended = now
            if blocks and now - reported > 1.05:
                reported = now
                self._report(message["offset"], blocks)
                blocks = []

    def _report(self, last, blocks):
        number = last // BLOCK
        first = number - len(blocks) + 1
        spans = {
            "count": len(blocks), "total": sum(blocks), "min": min(blocks), "median": sorted(blocks)[len(blocks) // 2],
            "max": max(blocks),
        }
        nothing = {"count": len(blocks), "total": 0, "min": 0, "median": 0, "max": 0}
        self._socket.send(json.dumps({
            "type": "report", "topic": "arrays", "block_size": BLOCK, "first_block": first, "last_block": number,
            "blocks": len(blocks), "first": first * BLOCK, "last": last, "messages": len(blocks) * BLOCK, "bytes": 0,
            "elapsed_ms": spans, "span_ms": sum(blocks), "spread_ms": nothing, "flags": [], "age_ms": 0,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }))


def asked(server, path):
    with urllib.request.urlopen(server.http(path), timeout=DEADLINE_S) as answer:
        return json.load(answer)


def row(server, name, cause):
    rows = asked(server, f"/api/clients?search={name}")["rows"]
    return next((row for row in rows if row["cause"] == cause), None)


def newest_causes(server, session):
    """The causes of the last three reports."""
    reports = asked(server, f"/api/reports?session={session}")["reports"]
    return [report["cause"] for report in reports[-3:]]


def test_a_python_client_that_sleeps_over_each_message_is_told_to_read_late():
    with (
        Server("--topic", "arrays=arrays?every=100ms&burst=1") as server,
        Sleeper(server, "sleeps", 0.15),
        Sleeper(server, "awake", 0),
    ):
        slow = server.object(event="slow", client="sleeps", cause="client slow")
        assert slow["why"] == READS_LATE
        until(lambda: newest_causes(server, slow["session"]) == ["client slow"] * 3, "three reports in a row")
        seen = until(lambda: row(server, "sleeps", "client slow"), "its row")
        assert seen["why"] == READS_LATE and seen["behind_ms"] > 0
        until(lambda: row(server, "awake", "source-limited"), "the other's row")
