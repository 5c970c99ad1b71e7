"""Clients that others wrote, with a server that asks for a token: in a header, as an offer, by a ticket, from a page."""

import asyncio
import base64
import hashlib
import json
import subprocess

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect as connect_sync

from program import DEADLINE_S, Server

READER, WRITER = "lapwing_reader", "lapwing_writer"


def line(name, token, scopes):
    return f"{name} {hashlib.sha256(token.encode()).hexdigest()} {scopes}\n"


def offer(token):
    return "lapwing.token." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.fixture
def guarded(tmp_path):
    """A server that asks for a token; its topics are filled by the tests and by itself."""
    tokens = tmp_path / "tokens"
    tokens.write_text(line("reader", READER, "listen:users") + line("writer", WRITER, "publish:orders,listen:orders"))
    topics = ("--topic", "users=users?every=20ms", "--topic", "orders=push")
    with Server(*topics, "--tokens", str(tokens)) as server:
        server.tokens = tokens
        yield server


def test_a_python_client_shows_its_token_in_a_header_or_as_an_offer(guarded):
    header = {"additional_headers": {"Authorization": f"Bearer {READER}"}}
    ways = [
        (header, None),
        ({"subprotocols": ["lapwing.plain", offer(READER)]}, "lapwing.plain"),
        ({"subprotocols": [offer(READER), "lapwing.v1"]}, "lapwing.v1"),
        # Alone it is not chosen either, which this library accepts.
        ({"subprotocols": [offer(READER)]}, None),
    ]
    for way, chosen in ways:
        with connect_sync(guarded.ws("?topics=users"), **way) as client:
            assert client.subprotocol == chosen
            message = json.loads(client.recv())
            assert message.get("topic") == "users" or message["type"] == "welcome"
    for way in ({}, {"subprotocols": ["lapwing.v1", offer("hunter2")]}):
        with pytest.raises(InvalidStatus) as refused, connect_sync(guarded.ws("?topics=users"), **way):
            pass
        assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as refused, connect_sync(guarded.ws("?topics=orders"), **header):
        pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b'the token has listen:users; topic "orders" needs listen:orders\n'


def test_a_python_client_is_ended_when_its_token_is_taken_back(guarded):
    async def follow():
        header = {"Authorization": f"Bearer {READER}"}
        async with connect(guarded.ws("?topics=users"), additional_headers=header) as client:
            await client.recv()
            guarded.tokens.write_text(line("writer", WRITER, "publish:orders"))
            with pytest.raises(ConnectionClosedError) as ended:
                async with asyncio.timeout(DEADLINE_S):
                    while True:
                        await client.recv()
        return ended.value.rcvd

    closed = asyncio.run(follow())
    assert (closed.code, closed.reason) == (4401, "the token was withdrawn")


@pytest.mark.needs("curl")
def test_curl_publishes_with_a_token_and_gets_a_ticket_for_a_stream(guarded):
    def curl(*arguments):
        command = ["curl", "-sS", "--max-time", str(DEADLINE_S), "-w", "\n%{http_code}", *arguments]
        run = subprocess.run(command, capture_output=True, check=True, text=True)
        body, _, status = run.stdout.rpartition("\n")
        return int(status), body

    bearer = ["--oauth2-bearer", WRITER]
    orders, users = guarded.http("/topics/orders/messages"), guarded.http("/topics/users/messages")
    assert curl("-d", "1", orders)[0] == 401
    assert curl("-d", "1", *bearer, users) == (403, 'the token has publish:orders, listen:orders; topic "users" needs publish:users\n')
    status, body = curl("-d", "1", *bearer, orders)
    assert (status, json.loads(body)["first"]) == (201, 0)
    status, body = curl("-X", "POST", *bearer, guarded.http("/ticket"))
    assert status == 201
    url = guarded.ws(f"?topics=orders&from=earliest&ticket={json.loads(body)['ticket']}")
    with connect_sync(url) as client:
        assert json.loads(client.recv())["data"] == 1
    with pytest.raises(InvalidStatus) as refused, connect_sync(url):
        pass
    assert refused.value.response.status_code == 401


@pytest.mark.needs("chromium")
def test_a_page_offers_its_token_and_never_gets_it_back(guarded, browser):
    def first(offers):
        return f"""new Promise((done) => {{
            const feed = new WebSocket(`ws://${{location.host}}/?topics=users`, {json.dumps(offers)});
            feed.onmessage = (event) => {{ done([feed.protocol, JSON.parse(event.data).topic]); feed.close(); }};
            feed.onerror = () => done("refused");
        }})"""

    with browser.open(guarded.http()) as page:
        assert page.status == 200
        assert page.run(first(["lapwing.plain", offer(READER)])) == ["lapwing.plain", "users"]
        assert page.run(first(["lapwing.plain", offer("hunter2")])) == "refused"
        assert page.run(first(["lapwing.plain"])) == "refused"
        # Nothing is chosen then, which a browser does not accept.
        assert page.run(first([offer(READER)])) == "refused"
        ticket = f"""fetch("/ticket", {{ method: "POST", headers: {{ Authorization: "Bearer {READER}" }} }})
            .then((answer) => answer.json()).then((given) => new Promise((done) => {{
                const feed = new WebSocket(`ws://${{location.host}}/?topics=users&ticket=${{given.ticket}}`);
                feed.onmessage = (event) => {{ done(JSON.parse(event.data).topic); feed.close(); }};
                feed.onerror = () => done("refused");
            }}))"""
        assert page.run(ticket) == "users"


@pytest.mark.needs("chromium")
def test_the_own_page_asks_for_a_token_and_forgets_it(guarded, browser):
    state, gate = "document.getElementById('state').textContent", "document.getElementById('gate').hidden"
    rows = "Array.from(document.querySelectorAll('#topics tr'), (row) => row.cells[0].textContent)"

    def enter(page, token):
        page.until(f"!{gate}")
        page.run(f"document.getElementById('token').value = {json.dumps(token)}")
        page.click("#enter")

    with browser.open(guarded.http()) as page:
        page.until(f"{state} === 'This server wants a token.'")
        enter(page, "hunter2")
        page.until(f"{state} === 'This token is not good here.'")
        enter(page, READER)
        page.until(f"{state} === 'live' && {gate}")
        page.until(f"{rows}.join() === 'users'")
        guarded.tokens.write_text(line("writer", WRITER, "publish:orders"))
        page.until(f"{state} === 'The server ended this: the token was withdrawn.'")
        enter(page, WRITER)
        page.until(f"{state} === 'This token does not allow to listen, or has as many connections as it may.'")
        seen = page.seen
        assert (seen["dialogs"], seen["violations"]) == ([], [])
        assert not any(secret in text for secret in (READER, WRITER, "hunter2") for text in seen["requests"] + seen["errors"])
        assert page.run("Object.keys(localStorage).length + Object.keys(sessionStorage).length + document.cookie.length") == 0
