"""Clients that others wrote, against a server that encrypts: keys as OpenSSL makes them, curl, Python."""

import asyncio
import json
import signal
import ssl
import subprocess

import pytest
import websockets

from program import DEADLINE_S, Program, Server, until
from test_browser import LINES, STATE, check_quiet

pytestmark = pytest.mark.needs("openssl")

TOPICS = ("--topic", "users=users?every=20ms", "--topic", "orders=push")


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def certificate(folder, key):
    """A certificate of a key for 127.0.0.1, signed by that key."""
    path = folder / "cert.pem"
    openssl("req", "-new", "-x509", "-key", key, "-out", path, "-days", 1, "-subj", "/CN=test",
            "-addext", "subjectAltName=IP:127.0.0.1")
    return path


@pytest.fixture
def pair(tmp_path):
    """A certificate and its key."""
    key = tmp_path / "key.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    return certificate(tmp_path, key), key


@pytest.fixture
def encrypted(pair):
    """A server that encrypts, and the certificate with which it is trusted."""
    cert, key = pair
    with Server(*TOPICS, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        yield server, cert


def wss(server, query=""):
    return f"wss://{server.address}/{query}"


def trust(cert):
    return ssl.create_default_context(cafile=cert)


def first(url, context):
    """The first message of a feed, and the version of TLS that it came in.

    By the client that lives on one thread: that with two uses an SSL object from both at once, for which Python's is not made
    (python/cpython#134698), and then a request may never leave.
    """

    async def read():
        async with websockets.connect(url, ssl=context) as feed:
            return json.loads(await feed.recv()), feed.transport.get_extra_info("ssl_object").version()

    return asyncio.run(asyncio.wait_for(read(), DEADLINE_S))


@pytest.mark.parametrize(
    ("form", "make"),
    [
        ("BEGIN EC PRIVATE KEY", ["ecparam", "-name", "secp384r1", "-genkey", "-noout"]),
        ("BEGIN RSA PRIVATE KEY", ["genrsa", "-traditional", "2048"]),
        ("BEGIN PRIVATE KEY", ["genpkey", "-algorithm", "ed25519"]),
        ("BEGIN PRIVATE KEY", ["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ],
)
def test_keys_of_every_form_are_served(tmp_path, form, make):
    key = tmp_path / "key.pem"
    out = subprocess.run(["openssl", *make], check=True, capture_output=True).stdout
    key.write_bytes(out)
    assert form in key.read_text()
    cert = certificate(tmp_path, key)
    with Server(*TOPICS, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        message, _ = first(wss(server, "?topics=users&from=earliest"), trust(cert))
        assert message["offset"] == 0


def test_a_chain_is_sent_whole_and_its_root_is_enough_to_trust_it(tmp_path):
    root_key, root = tmp_path / "root-key.pem", tmp_path / "root.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", root_key)
    openssl("req", "-new", "-x509", "-key", root_key, "-out", root, "-days", 1, "-subj", "/CN=root",
            "-addext", "basicConstraints=critical,CA:TRUE")

    def signed(name, by, extensions):
        key, request, cert = tmp_path / f"{name}-key.pem", tmp_path / f"{name}.csr", tmp_path / f"{name}.pem"
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        openssl("req", "-new", "-key", key, "-out", request, "-subj", f"/CN={name}")
        (tmp_path / "extensions").write_text(extensions)
        openssl("x509", "-req", "-in", request, "-CA", tmp_path / f"{by}.pem", "-CAkey", tmp_path / f"{by}-key.pem",
                "-CAcreateserial", "-days", 1, "-out", cert, "-extfile", tmp_path / "extensions")
        return cert, key

    between, _ = signed("between", "root", "basicConstraints=critical,CA:TRUE")
    own, key = signed("own", "between", "subjectAltName=IP:127.0.0.1")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(own.read_bytes() + between.read_bytes())
    with Server(*TOPICS, "--tls-cert", str(chain), "--tls-key", str(key)) as server:
        message, _ = first(wss(server, "?topics=users"), trust(root))
        assert message["topic"] == "users"
        with Program("listen", wss(server), "--topics", "users", "--count", "3", "--ca", str(root)) as listener:
            assert listener.wait() == 0, str(listener)


@pytest.mark.needs("curl")
def test_curl_reads_and_publishes_inside_tls(encrypted):
    server, cert = encrypted
    url = f"https://{server.address}"
    curl = ["curl", "-sS", "--max-time", str(DEADLINE_S), "--cacert", str(cert)]
    assert subprocess.check_output([*curl, f"{url}/healthz"]) == b"ok\n"
    # Without --http1.1 curl would rather speak HTTP/2, and is told in the handshake that this is HTTP/1.1.
    page = subprocess.check_output([*curl, "-w", "%{http_version}", url])
    assert page.lower().startswith(b"<!doctype html>")
    assert page.endswith(b"1.1")
    answer = json.loads(subprocess.check_output([*curl, "-d", '{"id":1}', f"{url}/topics/orders/messages"]))
    assert answer["first"] == 0
    refused = subprocess.run(["curl", "-sS", f"http://{server.address}/"], capture_output=True, check=True)
    assert refused.stdout == b"this port speaks TLS: use wss:// or https://\n"


def test_python_clients_get_every_message_inside_tls(encrypted):
    server, cert = encrypted

    async def follow(count):
        async with websockets.connect(wss(server, "?topics=users&from=earliest"), ssl=trust(cert)) as feed:
            offsets = [json.loads(await feed.recv())["offset"] for _ in range(count)]
            await feed.send("thank you")
            return offsets

    async def everyone():
        return await asyncio.wait_for(asyncio.gather(*(follow(50) for _ in range(20))), DEADLINE_S)

    assert asyncio.run(everyone()) == [list(range(50))] * 20
    until(lambda: sum('"event":"said"' in line for line in list(server.out)) == 20, "what each of them said")
    assert server.stop(signal.SIGTERM) == 0


def test_a_python_client_of_older_tls_is_served(encrypted):
    server, cert = encrypted
    older = trust(cert)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    message, version = first(wss(server, "?topics=users"), older)
    assert (message["topic"], version) == ("users", "TLSv1.2")


@pytest.mark.needs("chromium")
def test_the_page_is_live_inside_tls(browser):
    with Server("--topic", "users=users?every=100ms", "--tls-self-signed") as server:
        with browser.open(f"https://{server.address}/") as page:
            page.until(f"{STATE} === 'live'")
            page.until(f"{LINES}.length > 3")
            assert server.object(event="joined", client="page")["mode"] == "lapwing.v1"
            check_quiet(page, server)
            assert any(url.startswith("wss://") for url in page.seen["requests"])


def test_a_renegotiation_is_refused_at_once_also_where_nothing_else_is_sent(encrypted):
    server, _ = encrypted
    command = ["openssl", "s_client", "-connect", server.address, "-tls1_2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as client:
        fields = {"Host": server.address, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        client.stdin.write(f"GET /?topics=orders HTTP/1.1\r\n{head}\r\n".encode())
        client.stdin.flush()
        server.object(event="joined")
        # What asks openssl for one.
        client.stdin.write(b"R\n")
        client.stdin.flush()
        try:
            assert b"no renegotiation" in client.communicate(timeout=DEADLINE_S)[1]
        finally:
            client.kill()
    assert server.object(event="left")["code"] == 1006
