"""/openapi.json and /asyncapi.json: what they say is well-formed by the rules of others, and true of the server's answers."""

import json
import os
import pathlib
import re
import urllib.error
import urllib.request

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import validate
from websockets.sync.client import connect

from program import DEADLINE_S, Program, Server, until

PROTOCOL = pathlib.Path(__file__).parents[2] / "PROTOCOL.md"
TOPICS = {
    "users": "users?every=20ms",
    "arrays": "arrays?every=20ms&shape=2x3&pack=2&low=-5&high=5&dtype=int8",
    "floats": "arrays?every=20ms&shape=4&dtype=float32",
    "huge": "arrays?every=20ms&dtype=uint64&low=18446744073709551000&high=18446744073709551616",
    "lines": "exec:echo hello; exec sleep 600",
    "orders": "push?slow=wait",
}


@pytest.fixture(scope="module")
def described():
    with Server(*(word for name, source in TOPICS.items() for word in ("--topic", f"{name}={source}"))) as server:
        yield server


def ask(server, path, method="GET", body=None, **headers):
    request = urllib.request.Request(server.http(path), body, headers, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=DEADLINE_S)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read().decode()


def get(server, path):
    return json.loads(ask(server, path)[2])


def of_answer(document, path, method, status):
    """The schema of one answer's JSON, with all that it refers to."""
    schema = document["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": document["components"]})


def test_openapi_is_valid_and_of_this_version(described):
    status, headers, body = ask(described, "/openapi.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    document = json.loads(body)
    validate(document)
    assert get(described, "/api/topics")["server"] == f"lapwing/{document['info']['version']}"


def test_answers_are_as_openapi_has_them(described):
    document = get(described, "/openapi.json")
    described.publish("orders", 1, 2)
    until(lambda: all("achieved_per_s" in topic for topic in get(described, "/api/topics")["topics"]), "rates of all")
    of_answer(document, "/api/topics", "get", 200).validate(get(described, "/api/topics"))
    headers = {"Content-Type": "application/json", "Idempotency-Key": "twice"}
    for expected in (201, 200):
        status, _, body = ask(described, "/topics/orders/messages", "POST", b"3", **headers)
        assert status == expected
        of_answer(document, "/topics/{topic}/messages", "post", status).validate(json.loads(body))


@pytest.mark.parametrize("path", ["/api/topics", "/api/clients", "/api/servers"])
def test_the_protocol_shows_answers_as_openapi_has_them(described, path):
    (shown,) = re.findall(rf"^### `{path}`\n.*?^```json\n(.*?)^```$", PROTOCOL.read_text(), re.MULTILINE | re.DOTALL)
    of_answer(get(described, "/openapi.json"), path, "get", 200).validate(json.loads(shown))


def test_real_clients_and_reports_are_as_openapi_has_them(described, tmp_path):
    document = get(described, "/openapi.json")
    log = str(tmp_path / "log.ndjson")
    with Program("listen", described.ws(), "--topics", "arrays", "--name", "sensor-1", "--log", log):

        def reported():
            rows = [row for row in get(described, "/api/clients")["rows"] if row["client"] == "sensor-1"]
            return any("reported" in topic for row in rows for topic in row["topics"])

        until(reported, "the listener has reported")
        answers = {path: get(described, path) for path in ("/api/clients", "/api/reports")}
    assert answers["/api/reports"]["reports"]
    for path, answer in answers.items():
        schema = of_answer(document, path, "get", 200)
        schema.validate(answer)
        assert not schema.is_valid({**answer, "position": 5}), "it can fail"


def test_a_schema_that_does_not_fit_is_found(described):
    """What is checked above can fail."""
    schema = of_answer(get(described, "/openapi.json"), "/api/topics", "get", 200)
    topics = get(described, "/api/topics")
    for change in ({"clients": -1}, {"topics": [{**topics["topics"][0], "state": "fine"}]}, {"time": 5}):
        assert not schema.is_valid({**topics, **change}), change


def test_every_path_that_openapi_names_is_there(described):
    document = get(described, "/openapi.json")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "parameters" or "{topic}/events" in path and method == "get":
                continue
            status, headers, body = ask(described, path.replace("{topic}", "orders"), method.upper())
            told = "101" in operation["responses"] and status in (404, 426) or str(status) in operation["responses"]
            assert told, (path, method, status, body)
            if status == 404:
                assert path in ("/echo", "/ticket"), "of a server without --echo and tokens"
    shown = re.findall(r"`(?:GET|POST) (/[^`?]*)`", PROTOCOL.read_text())
    missing = {path.replace("NAME", "{topic}") for path in shown} - document["paths"].keys()
    assert missing == {"/"}, "all but the page"


@pytest.mark.needs("npm")
def test_asyncapi_is_valid(described):
    specs = pathlib.Path(os.environ["LAPWING_NPM"]) / "@asyncapi" / "specs" / "schemas"
    schema = Draft7Validator(json.loads((specs / "3.0.0.json").read_text()))
    document = get(described, "/asyncapi.json")
    schema.validate(document)
    assert not schema.is_valid({**document, "asyncapi": "2.6.0"}), "it can fail"
    assert not schema.is_valid({**document, "channels": {"users": {"address": 5}}}), "it can fail"


def test_asyncapi_describes_the_topics_that_run(described):
    document = get(described, "/asyncapi.json")
    described.publish("orders", {"id": 1})
    messages = document["components"]["messages"]
    assert messages.keys() == TOPICS.keys()
    assert document["channels"].keys() == TOPICS.keys() | {"orders.publishing"}
    for name in TOPICS:
        binding = document["channels"][name]["bindings"]["ws"]["query"]["properties"]
        schema = Draft202012Validator(messages[name]["payload"])
        address = f"ws://{described.address}{document['channels'][name]['address']}"
        with connect(f"{address}?topics={binding['topics']['const']}&from=earliest", max_size=None) as client:
            message = json.loads(client.recv(DEADLINE_S))
        schema.validate(message)
        assert not schema.is_valid({**message, "topic": "another"})
        if name not in ("lines", "orders"):
            assert not schema.is_valid({**message, "data": [1]}), name
