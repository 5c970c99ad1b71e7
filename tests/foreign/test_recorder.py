"""`lapwing listen` on servers that others wrote: Python's `websockets`, plain and with TLS."""

import asyncio
import concurrent.futures
import contextlib
import json
import ssl
import subprocess
import threading

import pytest
from websockets.asyncio.server import serve

from program import DEADLINE_S, Program, Server

FEED = ['{"price": 1.50,  "n": 12345678901234567890}', "just words", b"\x00\x01\xfe\xff", '{"topic":"x"}', "naïve 鸟"]
"""What a foreign server sends; the numbers must come through digit by digit."""

RECORDED = [
    ("data", {"price": 1.5, "n": 12345678901234567890}),
    ("data", "just words"),
    ("data_base64", "AAH+/w=="),
    ("data", {"topic": "x"}),
    ("data", "naïve 鸟"),
]


@contextlib.contextmanager
def serving(handle, tls=None):
    """A foreign server on a thread; gives its port. At the end all handlers have ended.

    It lives on one thread, for an SSL object of Python's is not made for two (python/cpython#134698).
    """

    async def run():
        async with serve(handle, "127.0.0.1", 0, ssl=tls) as server:
            ready.set_result((asyncio.get_running_loop(), asyncio.current_task(), server.sockets[0].getsockname()[1]))
            await server.serve_forever()

    def work():
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(run())

    ready = concurrent.futures.Future()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    loop, task, port = ready.result(DEADLINE_S)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(DEADLINE_S)


@contextlib.contextmanager
def feed(messages=FEED, said=None, tls=None):
    """A foreign server that sends `messages` to each client, and then keeps what the client says; gives its port."""

    async def handle(client):
        for message in messages:
            await client.send(message)
        async for message in client:
            if said is not None:
                said.append(message)

    with serving(handle, tls) as port:
        yield port


def records(path):
    """The messages of a recording; the notes between them are left out."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "record" not in line]


def test_listen_records_a_foreign_feed_of_text_json_and_bytes(tmp_path):
    log, said = tmp_path / "feed.ndjson", []
    with feed(said=said) as port:
        with Program("listen", f"ws://127.0.0.1:{port}/some/path?key=value", "--log", str(log), "--count", "5") as listen:
            assert listen.wait() == 0, listen
    lines = records(log)
    assert [(key, line[key]) for line in lines for key in ("data", "data_base64") if key in line] == RECORDED
    assert '"price":1.50' in log.read_text(), "numbers keep their digits"
    assert not any("offset" in line for line in lines), "a foreign feed has no offsets"
    assert all(line["received"] and line["mono"] >= 0 for line in lines)
    assert said == [], "a server that does not know us is told nothing"


def test_listen_prints_a_foreign_feed_for_programs_and_times_its_blocks():
    with feed([str(number) for number in range(10)]) as port:
        with Program("listen", f"ws://127.0.0.1:{port}", "--json", "--count", "10", "--block", "5") as listen:
            assert listen.wait() == 0, listen
    lines = [json.loads(line) for line in listen.out]
    assert [line["data"] for line in lines if "record" not in line] == list(range(10))
    assert len([line for line in lines if line.get("record") == "block"]) == 2


def test_listen_shows_a_foreign_feed_to_people():
    with feed(["\x1b[2Jhello \u202e"] * 5) as port:
        with Program("listen", f"ws://127.0.0.1:{port}", "--count", "5") as listen:
            assert listen.wait() == 0, listen
    assert len([line for line in listen.out if "hello" in line]) == 5, listen
    assert all(line.isprintable() for line in listen.out + listen.err), listen


def test_ctrl_c_ends_with_1000(tmp_path):
    codes = []

    async def handle(client):
        await client.send("one")
        await client.wait_closed()
        codes.append(client.close_code)

    with serving(handle) as port:
        with Program("listen", f"ws://127.0.0.1:{port}", "--json") as listen:
            listen.object(data="one")
            assert listen.stop() == 0, listen
    assert codes == [1000]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody trusts yet, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=lapwing test", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        + ["-keyout", key, "-out", pem],
        check=True,
        capture_output=True,
    )
    return pem, key


@pytest.fixture
def tls_feed(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with feed(tls=context) as port:
        yield f"wss://127.0.0.1:{port}"


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("how", ["ca", "insecure"])
def test_listen_records_a_feed_with_tls(tls_feed, certificate, tmp_path, how):
    log = tmp_path / "feed.ndjson"
    trust = ["--ca", str(certificate[0])] if how == "ca" else ["--insecure"]
    with Program("listen", tls_feed, "--log", str(log), "--count", "5", *trust) as listen:
        assert listen.wait() == 0, listen
    assert len(records(log)) == 5


@pytest.mark.needs("openssl")
def test_listen_refuses_a_certificate_that_nobody_vouches_for(tls_feed, tmp_path):
    log = tmp_path / "feed.ndjson"
    with Program("listen", tls_feed, "--log", str(log), "--count", "1") as listen:
        assert listen.wait() == 1, listen
    assert any("certificate" in line for line in listen.err), listen
    assert any("--ca" in line for line in listen.err), listen
    assert records(log) == []


def test_a_recording_of_a_foreign_feed_can_be_served_again(tmp_path):
    log = tmp_path / "feed.ndjson"
    with feed([str(number) for number in range(5)]) as port:
        with Program("listen", f"ws://127.0.0.1:{port}", "--log", str(log), "--count", "5", "--quiet") as listen:
            assert listen.wait() == 0, listen
    with Server("--topic", f"again=file:{log}?speed=max") as server:
        with Program("listen", f"ws://{server.address}", "--from", "earliest", "--count", "5", "--json") as listen:
            assert listen.wait() == 0, listen
    values = [json.loads(line) for line in listen.out]
    assert [value["data"] for value in values if "record" not in value] == list(range(5))
