"""E11, E12: what web pages of other origins can do to a server on this machine. Nothing, unless they are allowed."""

import contextlib
import http.server
import json
import threading

import pytest
from websockets.sync.client import connect

from program import Server, until

pytestmark = pytest.mark.needs("chromium")


@contextlib.contextmanager
def site():
    """Another web site on this machine; gives its port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(params=["another port", "another name of this machine"])
def stranger(request, browser):
    """A server with a topic to publish to, and a page of another origin beside it."""
    with site() as port, Server("--topic", "orders=push") as server:
        host = "127.0.0.1" if request.param == "another port" else "localhost"
        with browser.open(f"http://{host}:{port}/") as page:
            yield server, page


def opened(page, url, protocols="[]", wanted="open"):
    """What becomes of a WebSocket that the page opens: `open`, or with `wanted="message"` its first one, or `refused`."""
    return page.run(f"""new Promise((resolve) => {{
        const socket = new WebSocket({json.dumps(url)}, {protocols});
        socket.on{wanted} = (event) => resolve(event.data ?? "open");
        socket.onclose = (event) => resolve(`refused ${{event.code}}`);
    }})""")


def fetched(page, url, options="{}"):
    """What a fetch of the page gives: status and text, or `refused`."""
    return page.run(
        f"fetch({json.dumps(url)}, {options}).then(async (a) => [a.type, a.status, await a.text()], () => 'refused')"
    )


def test_e11_a_page_of_another_origin_cannot_open_the_stream(stranger):
    server, page = stranger
    for url in (server.ws("?from=earliest"), server.ws("ws?from=earliest")):
        assert opened(page, url) == "refused 1006"
        assert opened(page, url, '["lapwing.v1"]') == "refused 1006"
    assert [line for line in server.out if '"joined"' in line] == []


def test_e11_a_page_of_another_origin_cannot_publish(stranger):
    server, page = stranger
    url = server.http("/topics/orders/messages")
    # As a form could, as a script could that need not see the answer, and as one that asks first.
    assert fetched(page, url, '{method: "POST", body: "x", mode: "no-cors"}')[0] == "opaque"
    assert fetched(page, url, '{method: "POST", body: "x"}') == "refused"
    assert fetched(page, url, '{method: "POST", body: "1", headers: {"Content-Type": "application/json"}}') == "refused"
    page.run(f"""new Promise((resolve) => {{
        const frame = Object.assign(document.createElement("iframe"), {{ name: "target" }});
        document.body.append(frame);
        const form = document.body.appendChild(document.createElement("form"));
        Object.assign(form, {{ method: "post", action: {json.dumps(url)}, target: "target", enctype: "text/plain" }});
        form.appendChild(Object.assign(document.createElement("input"), {{ name: "x", value: "y" }}));
        frame.onload = resolve;
        form.submit();
    }})""")
    with connect(server.ws("?from=earliest")) as client:
        assert server.publish("orders", "mine")["first"] == 0, "nothing came before it"
        assert json.loads(client.recv())["data"] == "mine"


def test_e11_a_page_of_another_origin_cannot_read(stranger):
    server, page = stranger
    for path in ("/", "/page.js", "/healthz", "/topics/orders/messages"):
        assert fetched(page, server.http(path)) == "refused"
        assert fetched(page, server.http(path), '{mode: "no-cors"}') == ["opaque", 0, ""]


def test_e11_a_page_of_another_origin_cannot_frame_the_page(stranger):
    server, page = stranger
    page.run(f"""new Promise((resolve) => {{
        const frame = document.createElement("iframe");
        frame.onload = resolve;
        frame.src = {json.dumps(server.http())};
        document.body.append(frame);
    }})""")
    until(lambda: any("frame-ancestors" in error for error in page.seen["errors"]), "Chromium's refusal")
    assert [line for line in server.out if '"joined"' in line] == [], "the page did not run in the frame"


def test_e11_a_page_that_was_allowed_can_open_and_publish_and_read(browser):
    with site() as port:
        origin = f"http://127.0.0.1:{port}"
        with Server("--topic", "orders=push", "--allow-origin", origin) as server, browser.open(origin) as page:
            url = server.http("/topics/orders/messages")
            options = '{method: "POST", body: "{}", headers: {"Content-Type": "application/json"}}'
            kind, status, text = fetched(page, url, options)
            assert (kind, status, json.loads(text)["first"]) == ("cors", 201, 0)
            assert json.loads(opened(page, server.ws("?from=earliest"), wanted="message"))["data"] == {}
            assert fetched(page, server.http("/healthz")) == ["cors", 200, "ok\n"]
            assert page.seen["errors"] == []
            with browser.open(f"http://localhost:{port}/") as other:
                assert opened(other, server.ws()) == "refused 1006", "another origin than the one named"


def test_e12_a_name_bent_to_this_machine_gets_nothing(browser):
    """The page of a rebound name has the server's own origin, so only `Host` gives it away."""
    with Server("--topic", "orders=push") as server:
        with browser.open(f"http://rebound.example:{server.port}/") as page:
            assert page.status == 421
            assert opened(page, f"ws://rebound.example:{server.port}/") == "refused 1006"
            url = f"http://rebound.example:{server.port}/topics/orders/messages"
            assert fetched(page, url, '{method: "POST", body: "x"}')[:2] == ["basic", 421]
        assert server.publish("orders", "mine")["first"] == 0
