"""A client of `lapwing.v1` that takes its time over each message, and reports its blocks by its own clock."""

import datetime
import json
import threading
import time
import urllib.parse

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class Reader:
    """Follows one topic from its newest message on, until it is left."""

    def __init__(self, server, topic, name, pause_s=0.0, block=4):
        self.pause_s, self._topic, self._block = pause_s, topic, block
        # All that comes is taken at once and waits in here: nothing is to wait at the server, and pings are answered.
        self._way = connect(server.ws(f"?name={urllib.parse.quote(name)}"), subprotocols=["lapwing.v1"], max_queue=None)
        self._client = self._way.__enter__()
        self._client.send(json.dumps({"type": "subscribe", "topic": topic}))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self, code=1000, reason=""):
        self._client.close(code, reason)
        self._thread.join(10)

    def say(self, text):
        self._client.send(json.dumps({"type": "say", "text": text}))

    def _read(self):
        began, ended, first, size = None, None, None, 0
        try:
            for text in self._client:
                message = json.loads(text)
                if "type" in message:
                    continue
                time.sleep(self.pause_s)
                now, offset = time.monotonic(), message["offset"]
                if first is None or offset // self._block != first // self._block:
                    first, began, size = offset, now, 0
                size += len(text)
                if (offset + 1) % self._block == 0:
                    self._client.send(json.dumps(self._report(first, offset, size, now - began, ended and now - ended)))
                    ended = now
        except ConnectionClosed:
            pass  # By whom does not matter here.

    def _report(self, first, last, size, spread_s, elapsed_s):
        def one(seconds):
            return {"count": 1, **dict.fromkeys(("total", "min", "median", "max"), seconds * 1000)}

        block, count = last // self._block, last - first + 1
        timed = {} if elapsed_s is None else {"span_ms": elapsed_s * 1000}
        flags = (["first"] if elapsed_s is None else []) + (["partial"] if count < self._block else [])
        if not flags:
            timed["elapsed_ms"] = one(elapsed_s)
        return {
            "type": "report", "topic": self._topic, "block_size": self._block, "first_block": block, "last_block": block, "blocks": 1,
            "first": first, "last": last, "messages": count, "bytes": size, "spread_ms": one(spread_s), "flags": flags, "age_ms": 0.0,
            "time": datetime.datetime.now(datetime.UTC).isoformat(), **timed,
        }
