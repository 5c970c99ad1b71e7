"""curl: the handshake as bytes, what is refused and how, and the other answers over HTTP."""

import json
import re
import subprocess

import pytest

from program import DEADLINE_S, Server

pytestmark = pytest.mark.needs("curl")

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The example of RFC 6455 section 1.3, and what answers it."""
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def headers(fields):
    return [word for name, value in fields.items() if value is not None for word in ("-H", f"{name}: {value}")]


def curl(*arguments):
    """Runs curl; gives status, headers (lower case) and body."""
    run = subprocess.run(
        ["curl", "-sS", "-i", "--http1.1", "--max-time", str(DEADLINE_S), *arguments], capture_output=True, check=True
    )
    head, _, body = run.stdout.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, v in (field.split(": ", 1) for field in fields)}, body.decode()


def test_curl_sees_the_handshake_and_the_frames(server):
    command = ["curl", "-s", "-i", "-N", "--http1.1", *headers(HANDSHAKE), server.http("/?topics=users&name=curl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        seen = b""
        while seen.count(b'{"topic":"users","offset":') < 3:
            more = process.stdout.read1(65536)
            assert more, seen
            seen += more
        process.kill()
    head, _, frames = seen.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert fields["upgrade"] == "websocket"
    assert fields["connection"] == "upgrade"
    assert fields["sec-websocket-accept"] == ACCEPT.lower() and ACCEPT.encode() in head
    assert "sec-websocket-protocol" not in fields and "sec-websocket-extensions" not in fields
    # An unmasked text frame whose length stands in the next two bytes.
    assert frames[:2] == b"\x81\x7e"
    length = int.from_bytes(frames[2:4])
    assert json.loads(frames[4 : 4 + length])["topic"] == "users"
    assert server.object(event="left", client="curl")["code"] == 1006


@pytest.mark.parametrize(
    ("path", "changed", "status", "says"),
    [
        ("/", {"Sec-WebSocket-Version": "8"}, 426, "13"),
        ("/", {"Sec-WebSocket-Version": None}, 426, "13"),
        ("/", {"Sec-WebSocket-Key": None}, 400, "Key"),
        ("/", {"Sec-WebSocket-Key": "dG9vIHNob3J0"}, 400, "Key"),
        ("/", {"Connection": "keep-alive"}, 400, "Connection"),
        ("/", {"Upgrade": "websockets"}, 426, "Upgrade"),
        ("/ws", {"Upgrade": "h2c"}, 426, "Upgrade"),
        ("/?topics=nothing", {}, 404, "there are users, arrays"),
        ("/?topics=", {}, 400, "topic"),
        ("/?topcis=users", {}, 400, "topcis"),
        ("/?token=secret", {}, 400, "token"),
        ("/?from=yesterday", {}, 400, "yesterday"),
        ("/?from=users@0123456789abcdef:3", {}, 400, ""),
        ("/?envelope=off", {"Sec-WebSocket-Protocol": "lapwing.v1"}, 400, "envelope"),
        ("/", {"Origin": "http://evil.example"}, 403, "--allow-origin http://evil.example"),
        ("/", {"Origin": "null"}, 403, "hides its origin"),
        ("/", {"Host": "evil.example"}, 421, "evil.example"),
        ("/?" + "x" * 9000, {}, 414, "limit"),
        ("/elsewhere", {}, 404, ""),
    ],
)
def test_an_upgrade_that_is_wrong_gets_its_status_and_one_sentence(server, path, changed, status, says):
    got, fields, body = curl(*headers(HANDSHAKE | changed), server.http(path))
    assert (got, body.count("\n")) == (status, 1), body
    assert says in body
    assert "secret" not in body
    if status == 426:
        assert fields["sec-websocket-version"] == "13"


def test_ws_without_an_upgrade_and_with_another_method_is_refused(server):
    assert curl(server.http("/ws"))[0] == 426
    status, fields, _ = curl("-X", "POST", *headers(HANDSHAKE), server.http("/ws"))
    assert status == 405
    assert "GET" in fields["allow"]


def test_health_is_told(server):
    assert curl(server.http("/healthz"))[::2] == (200, "ok\n")
    assert curl(server.http("/readyz"))[::2] == (200, "ready\n")
    assert curl("-X", "DELETE", server.http("/healthz"))[0] == 405


def test_the_page_is_html_that_loads_nothing_from_elsewhere(server):
    status, fields, body = curl(server.http())
    assert status == 200
    assert fields["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in fields["content-security-policy"]
    assert "unsafe" not in fields["content-security-policy"]
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["referrer-policy"] == "no-referrer"
    assert not re.search(r"(src|href)=\"(?!/)", body)
    assert "<script>" not in body and "style=" not in body


def test_a_client_that_would_rather_speak_http_2_gets_the_page(server):
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    status, fields, _ = curl(*headers(offer), server.http())
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")


def test_a_host_that_is_not_ours_gets_neither_the_page_nor_a_publish(pushed):
    assert curl("-H", "Host: evil.example", pushed.http())[0] == 421
    assert curl("-H", "Host: evil.example", "-d", "1", pushed.http("/topics/orders/messages"))[0] == 421


def test_curl_publishes_text_json_and_lines(pushed):
    url = pushed.http("/topics/orders/messages")
    status, _, body = curl("-d", "just words", url)
    assert (status, json.loads(body)["first"]) == (201, 0)
    status, _, body = curl("--json", '{"n": 1}', url)
    assert (status, json.loads(body)["first"]) == (201, 1)
    status, _, body = curl("-H", "Content-Type: application/x-ndjson", "--data-binary", '1\n[2]\n"3"\n', url)
    answer = json.loads(body)
    assert (status, answer["first"], answer["last"], answer["count"]) == (201, 2, 4, 3)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--json", "{"], 400, "JSON"),
        (["-H", "Content-Type: application/x-ndjson", "--data-binary", "1\n{\n3"], 400, "line 2"),
        (["-H", "Content-Type: image/png", "-d", "x"], 415, "image/png"),
        (["-X", "PUT", "-d", "x"], 405, "POST"),
    ],
)
def test_a_publish_that_is_wrong_appends_nothing(pushed, arguments, status, says):
    url = pushed.http("/topics/orders/messages")
    got, _, body = curl(*arguments, url)
    assert got == status
    assert says in body
    assert json.loads(curl("-d", "first", url)[2])["first"] == 0


def test_a_publish_to_nowhere_or_to_a_topic_with_its_own_source_is_refused(server):
    status, _, body = curl("-d", "x", server.http("/topics/nothing/messages"))
    assert (status, "users, arrays" in body) == (404, True)
    assert curl("-d", "x", server.http("/topics/users/messages"))[0] == 409


def test_a_body_over_the_limit_is_refused_and_one_at_it_is_taken(tmp_path):
    body = tmp_path / "body"
    with Server("--topic", "orders=push", "--max-body", "2KiB") as server:
        for size, status in ((2048, 201), (2049, 413)):
            body.write_bytes(b"x" * size)
            url = server.http("/topics/orders/messages")
            assert curl("-H", "Content-Type: text/plain", "--data-binary", f"@{body}", url)[0] == status
