"""A real server for each test, and ways to fill its topics."""

import json
import os
import subprocess
import urllib.request

import pytest

PROGRAM = os.environ.get("LAPWING_BIN", "lapwing")


class Server:
    """A running `lapwing serve` on a free port."""

    def __init__(self, folder, *arguments, listen="127.0.0.1:0"):
        self.errors = folder / f"serve-{os.urandom(4).hex()}.txt"
        command = [PROGRAM, "serve", "--listen", listen, "--output", "json", *arguments]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                self.address = event["address"]
                break
        else:
            raise AssertionError(self.errors.read_text())
        self.url = f"ws://{self.address}"

    def post(self, topic, *values):
        """Publishes values without this package."""
        body = "".join(json.dumps(value) + "\n" for value in values).encode()
        request = urllib.request.Request(
            f"http://{self.address}/topics/{topic}/messages", body, {"Content-Type": "application/x-ndjson"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def lags(self):
        """How many messages wait for its clients, for each of what they follow."""
        with urllib.request.urlopen(f"http://{self.address}/api/clients", timeout=30) as answer:
            return [topic["lag"] for row in json.load(answer)["rows"] for topic in row["topics"]]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=30)


@pytest.fixture
def serve(tmp_path):
    """Starts servers, and ends them with the test."""
    servers = []

    def start(*arguments, **more):
        servers.append(Server(tmp_path, *arguments, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def pushed(serve):
    """A server with topics that are filled by hand: `a` of int64, `f` of float32, and `t` of anything."""
    return serve("--topic", "a=push?dtype=int64", "--topic", "f=push?dtype=float32", "--topic", "t=push")
