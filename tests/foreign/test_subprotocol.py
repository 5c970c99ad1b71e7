"""`lapwing.v1` spoken by hand, as a client in any language would: subscribe, lose the connection, resume."""

import json

import pytest
from websockets.sync.client import connect

from program import DEADLINE_S, Server


class Client:
    """A connection that keeps control messages and data messages apart."""

    def __init__(self, server, query="?name=by-hand"):
        self._connect = connect(server.ws(query), subprotocols=["other.v9", "lapwing.v1"])
        self.data = []

    def __enter__(self):
        self.socket = self._connect.__enter__()
        self.welcome = self.control("welcome")
        return self

    def __exit__(self, *why):
        self._connect.__exit__(*why)

    def say(self, **message):
        self.socket.send(json.dumps(message))

    def control(self, kind):
        """The next control message of a kind; data that comes before it is kept."""
        while True:
            message = json.loads(self.socket.recv(DEADLINE_S))
            if message.get("type") == kind:
                return message
            if "type" not in message:
                self.data.append(message)

    def receive(self, count):
        while len(self.data) < count:
            message = json.loads(self.socket.recv(DEADLINE_S))
            if "type" not in message:
                self.data.append(message)
        return self.data

    def lose(self):
        """The connection is gone without a word."""
        self.socket.socket.shutdown(2)


def test_the_server_chooses_the_protocol_it_knows_and_greets(server):
    with Client(server) as client:
        assert client.socket.subprotocol == "lapwing.v1"
        assert client.welcome["name"] == "by-hand"
        assert sorted(client.welcome["topics"]) == ["arrays", "users"]
        assert client.welcome["server"].startswith("lapwing/")


def test_nothing_comes_before_the_subscription_and_nothing_after_its_end(server):
    with Client(server) as client:
        client.say(type="subscribe", topic="arrays", **{"from": "earliest"})
        subscribed = client.control("subscribed")
        assert client.data == []
        assert (subscribed["answer"], subscribed["from"]) == ("ok", 0)
        assert [message["offset"] for message in client.receive(5)[:5]] == [0, 1, 2, 3, 4]
        client.say(type="unsubscribe", topic="arrays")
        assert client.control("unsubscribed")["topic"] == "arrays"
        client.data.clear()
        client.say(type="subscribe", topic="users")
        assert {message["topic"] for message in client.receive(5)} == {"users"}


def test_resume_after_a_lost_connection_misses_and_repeats_nothing(pushed):
    pushed.publish("orders", 0, 1, 2)
    with Client(pushed) as client:
        client.say(type="subscribe", topic="orders", **{"from": "earliest"})
        epoch = client.control("subscribed")["epoch"]
        received = [(message["offset"], message["data"]) for message in client.receive(3)]
        client.lose()
    pushed.object(event="left", client="by-hand")
    assert pushed.publish("orders", 3, 4)["epoch"] == epoch
    with Client(pushed) as client:
        client.say(type="subscribe", topic="orders", epoch=epoch, offset=3)
        subscribed = client.control("subscribed")
        assert (subscribed["answer"], subscribed["from"], subscribed["epoch"]) == ("ok", 3, epoch)
        pushed.publish("orders", 5)
        received += [(message["offset"], message["data"]) for message in client.receive(3)]
    assert received == [(number, number) for number in range(6)]


def test_a_position_of_a_server_that_is_gone_is_a_reset():
    with Server("--topic", "orders=push") as first:
        epoch = first.publish("orders", "before")["epoch"]
        assert first.stop() == 0
    with Server("--topic", "orders=push", port=first.port) as second:
        second.publish("orders", "after")
        with Client(second) as client:
            client.say(type="subscribe", topic="orders", epoch=epoch, offset=1)
            subscribed = client.control("subscribed")
            assert (subscribed["answer"], subscribed["from"]) == ("reset", 0)
            assert subscribed["epoch"] != epoch
            assert client.receive(1)[0]["data"] == "after"


def test_a_stop_says_bye_and_when_to_come_back(pushed):
    with Client(pushed) as client:
        client.say(type="subscribe", topic="orders")
        client.control("subscribed")
        pushed.send_signal(15)
        bye = client.control("bye")
        assert bye["next"] == {"orders": 0}
        assert bye["retry_ms"] >= 0
    assert pushed.wait() == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"type":"subscribe","topic":"nothing"}', "unknown_topic"),
        ('{"type":"dance"}', "bad_command"),
        ("no JSON at all", "bad_command"),
        ("[" * 100_000, "bad_command"),
    ],
)
def test_a_command_that_cannot_be_obeyed_is_answered_and_the_connection_lives(pushed, text, code):
    with Client(pushed) as client:
        client.socket.send(text)
        assert client.control("error")["code"] == code
        client.say(type="say", text="still here")
        pushed.object(event="said", client="by-hand", text="still here")


def test_a_report_by_hand_is_printed():
    with Server("--topic", "orders=push", output="text") as server:
        with Client(server) as client:
            client.say(type="subscribe", topic="orders")
            epoch = client.control("subscribed")["epoch"]
            server.publish("orders", *range(10))
            client.receive(10)
            client.say(**REPORT, epoch=epoch)
            server.line(r"by-hand received block 1 of orders \(5 messages\) in 1\.998 s")


ONE_SPAN = {"count": 1, "total": 1998.0, "min": 1998.0, "median": 1998.0, "max": 1998.0}
REPORT = {
    "type": "report",
    "topic": "orders",
    "block_size": 5,
    "first_block": 1,
    "last_block": 1,
    "blocks": 1,
    "first": 5,
    "last": 9,
    "messages": 5,
    "bytes": 100,
    "elapsed_ms": ONE_SPAN,
    "spread_ms": ONE_SPAN,
    "time": "2026-11-21T19:00:00Z",
}
