"""Python's `websockets`, asyncio and threads, in plain mode: no SDK, nothing but a URL."""

import asyncio
import json
import logging
import re
import signal

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect as connect_sync

from program import Server, until


def test_an_asyncio_client_gets_every_message_of_both_topics(server):
    async def receive():
        offsets = {"users": [], "arrays": []}
        async with connect(server.ws()) as client:
            while min(map(len, offsets.values())) < 20:
                message = json.loads(await client.recv())
                offsets[message["topic"]].append(message["offset"])
        return offsets

    for offsets in asyncio.run(receive()).values():
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


def test_the_envelope_names_topic_offset_time_and_data(server):
    with connect_sync(server.ws("?topics=users&from=earliest")) as client:
        text = client.recv()
    assert isinstance(text, str)
    message = json.loads(text)
    assert list(message) == ["topic", "offset", "time", "data"]
    assert (message["topic"], message["offset"]) == ("users", 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", message["time"])
    assert {"name", "sex", "username", "job", "company", "address", "phone"} <= set(message["data"])


@pytest.mark.parametrize(
    ("query", "topics"),
    [
        ("?topics=users", {"users"}),
        ("?topics=arrays", {"arrays"}),
        ("?topics=users,arrays", {"users", "arrays"}),
        ("ws", {"users", "arrays"}),
    ],
)
def test_a_sync_client_chooses_its_topics(server, query, topics):
    with connect_sync(server.ws(query)) as client:
        seen = {json.loads(client.recv())["topic"] for _ in range(40)}
    assert seen == topics


def test_a_sync_client_begins_where_it_asks(server):
    until(lambda: json.loads(first_message(server.ws("?topics=users")))["offset"] >= 10, "ten users")
    with connect_sync(server.ws("?topics=users&from=users:3")) as client:
        assert [json.loads(client.recv())["offset"] for _ in range(5)] == [3, 4, 5, 6, 7]


def first_message(url):
    with connect_sync(url) as client:
        return client.recv()


def test_without_the_envelope_only_the_payload_comes(server):
    array = json.loads(first_message(server.ws("?topics=arrays&envelope=off")))
    assert len(array) == 10
    assert all(isinstance(number, int) for number in array)


def test_a_ping_is_answered(server):
    async def ping():
        async with connect(server.ws()) as client:
            return await (await client.ping("are you there?"))

    assert asyncio.run(ping()) >= 0


def test_pings_of_the_server_keep_a_client_that_only_reads(caplog):
    caplog.set_level(logging.DEBUG, "websockets")
    # No message ever comes, so only pongs can tell that the client lives.
    with Server("--topic", "quiet=push", "--ping-interval", "100ms", "--pong-timeout", "10s") as server:
        with connect_sync(server.ws("?name=quiet")) as client:
            until(lambda: caplog.text.count("< PING") >= 5, "five pings")
            client.send("still here")
            server.object(event="said", client="quiet", text="still here")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1001), (signal.SIGTERM, 1012)])
def test_a_stop_tells_both_kinds_of_client_why(server, number, code):
    async def closed():
        with connect_sync(server.ws("?topics=users")) as sync:
            async with connect(server.ws("?topics=users")) as client:
                await client.recv()
                server.send_signal(number)
                with pytest.raises(websockets.ConnectionClosed) as first:
                    while True:
                        await client.recv()
            with pytest.raises(websockets.ConnectionClosed) as second:
                while True:
                    sync.recv()
        return [end.value.rcvd for end in (first, second)]

    for close in asyncio.run(closed()):
        assert close.code == code
        assert close.reason.isascii() and len(close.reason) > 0
    assert server.wait() == 0
    assert server.err == [], "no error and no stack trace"
    assert server.object(event="stopped")["clients"] == 2


def test_what_a_client_sends_is_printed_with_its_name_or_number(server):
    with connect_sync(server.ws("?name=sensor-2")) as named, connect_sync(server.ws()) as numbered:
        named.send("hello")
        numbered.send(json.dumps({"type": "subscribe", "topic": "users"}))
        numbered.send(bytes(range(20)))
        said = server.object(event="said", client="sensor-2")
        assert said["text"] == "hello"
        assert said["address"] == "{}:{}".format(*named.local_address[:2])
        number = server.object(event="joined", address="{}:{}".format(*numbered.local_address[:2]))["session"]
        # In plain mode nothing that a client says is a command.
        assert server.object(event="said", client=f"client {number}", text='{"type": "subscribe", "topic": "users"}')
        binary = server.object(event="said", client=f"client {number}", binary_bytes=20)
        assert binary["begins"] == "0001020304050607"


def test_text_that_could_drive_a_terminal_is_shown_harmless():
    with Server(output="text") as server:
        with connect_sync(server.ws("?name=x")) as client:
            client.send("\x1b[2J\x1b]0;title\x07 \u202e\u0000\r\nfake line")
            line = server.line("fake line").string
    assert line.isprintable(), line


def test_a_message_in_fragments_is_printed_whole(server):
    with connect_sync(server.ws("?name=x")) as client:
        client.send(iter(["one ", "two ", "", "three"]))
        assert server.object(event="said", client="x")["text"] == "one two three"


def test_a_message_over_the_limit_is_refused_with_1009():
    with Server("--max-message", "1KiB") as server:
        with connect_sync(server.ws()) as client:
            client.send("x" * 1024)
            server.object(event="said")
            client.send("x" * 1025)
            with pytest.raises(websockets.ConnectionClosed) as end:
                while True:
                    client.recv()
    assert end.value.rcvd.code == 1009


def test_compression_is_offered_by_the_client_and_not_taken(server):
    with connect_sync(server.ws(), compression="deflate") as client:
        client.recv()
        assert "Sec-WebSocket-Extensions" not in client.response.headers


@pytest.mark.parametrize("query", ["?topics=orders", "?topics=orders&envelope=off"])
def test_a_client_that_asks_gets_the_same_messages_compressed(compressing, query):
    with connect_sync(compressing.ws(query)) as client, connect_sync(compressing.ws(query), compression=None) as plain:
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in plain.response.headers
        for number in range(50):
            compressing.publish("orders", {"number": number, "text": "é" * 40 * (number % 5), "list": [1.5] * number})
            assert client.recv() == plain.recv()
        # It compresses everything that it sends, here in three fragments.
        client.send(["one ", "two " * 50, "three"])
        assert compressing.object(event="said")["text"] == "one " + "two " * 50 + "three"


def test_a_client_that_offers_a_smaller_window_is_served_uncompressed(compressing):
    narrow = ClientPerMessageDeflateFactory(server_max_window_bits=10)
    with connect_sync(compressing.ws(), compression=None, extensions=[narrow]) as client:
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        compressing.publish("orders", "x" * 500)
        assert json.loads(client.recv())["data"] == "x" * 500


def test_a_client_that_goes_is_told_with_its_code_and_its_last_offset(server):
    with connect_sync(server.ws("?name=x&topics=users&from=earliest")) as client:
        received = json.loads(client.recv())["offset"]
        client.close(1000, "enough")
    left = server.object(event="left", client="x")
    assert (left["code"], left["by"], left["reason"]) == (1000, "client", "enough")
    assert left["last"]["users"] >= received
    assert left["messages"] > received
