"""npm's `ws`."""

import contextlib
import json
import pathlib

import pytest
from websockets.sync.client import connect

pytestmark = pytest.mark.needs("npm")

SCRIPT = pathlib.Path(__file__).with_name("ws.mjs")


class Node:
    """What happened on the connection of one run of ws.mjs, in order."""

    def __init__(self, process):
        self._process = process

    def next(self, what):
        for line in self._process.stdout:
            event = json.loads(line)
            assert event["what"] != "error", event
            if event["what"] == what:
                return event["value"]
        raise AssertionError(f"node ended before {what}")


@contextlib.contextmanager
def connected(npm, url, protocol="plain", *commands):
    with npm(SCRIPT, url, protocol, *commands) as process:
        try:
            yield Node(process)
        finally:
            process.kill()


def test_ws_gets_both_topics_and_no_compression_and_its_pong(server, npm):
    with connected(npm, server.ws("?name=node")) as node:
        assert node.next("open") == {"protocol": "", "extensions": ""}
        assert node.next("pong") == "there?"
        messages = [node.next("message") for _ in range(60)]
    for topic in ("users", "arrays"):
        offsets = [message["offset"] for message in messages if message["topic"] == topic]
        assert len(offsets) >= 5
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    left = server.object(event="left", client="node")
    assert (left["code"], left["by"]) == (1006, "network"), "it was killed, so nothing was said"


@pytest.mark.parametrize("query", ["topics=orders", "topics=orders&envelope=off"])
def test_ws_gets_the_same_messages_with_compression_and_without(compressing, npm, query):
    without = connect(compressing.ws("?" + query), compression=None)
    with without as plain, connected(npm, compressing.ws(f"?{query}&name=node"), "plain", "é" * 2000) as node:
        assert node.next("open")["extensions"].startswith("permessage-deflate")
        # It compresses what is longer than 1 KiB.
        assert compressing.object(event="said", client="node")["text"].startswith("é" * 100)
        for number in range(20):
            compressing.publish("orders", [number] + ["a number", 1.5] * 30 * (number % 3))
            assert node.next("message") == json.loads(plain.recv())


@pytest.mark.parametrize(("number", "code"), [(2, 1001), (15, 1012)])
def test_ws_is_told_why_the_server_stops(server, npm, number, code):
    with connected(npm, server.ws("?name=node")) as node:
        node.next("message")
        server.send_signal(number)
        close = node.next("close")
    assert close["code"] == code
    assert close["reason"]
    assert server.wait() == 0


def test_ws_subscribes_with_the_subprotocol(server, npm):
    subscribe = json.dumps({"type": "subscribe", "topic": "users", "from": "earliest"})
    with connected(npm, server.ws("?name=node"), "lapwing.v1", subscribe) as node:
        assert node.next("open")["protocol"] == "lapwing.v1"
        messages = [node.next("message") for _ in range(4)]
    assert [message.get("type") for message in messages] == ["welcome", "subscribed", None, None]
    assert [message["offset"] for message in messages[2:]] == [0, 1]


def test_ws_says_something(server, npm):
    with connected(npm, server.ws("?name=node"), "plain", "from node"):
        assert server.object(event="said", client="node")["text"] == "from node"


def test_ws_is_refused_with_a_status(server, npm):
    with connected(npm, server.ws("?topics=nothing")) as node:
        assert node.next("refused") == 404
