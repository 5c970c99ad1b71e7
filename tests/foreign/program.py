"""The real program in a process of its own: start it, wait for what it says, end it."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

DEADLINE_S = 30
"""Only a test that fails ever waits so long."""


def until(condition, what="the condition", deadline_s=DEADLINE_S):
    """Waits until `condition()` gives something true, and gives that."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s in vain for {what() if callable(what) else what}")
        time.sleep(0.02)


class Program:
    """One run of `lapwing`; its output is read all the time, line by line."""

    def __init__(self, *arguments, stdin=subprocess.DEVNULL):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LAPWING_")}
        self.arguments = arguments
        self.out, self.err = [], []
        self._process = subprocess.Popen(
            [os.environ["LAPWING_BIN"], *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.decode().rstrip("\n"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    @property
    def stdin(self):
        return self._process.stdin

    def has_ended(self):
        return self._process.poll() is not None

    def send_signal(self, number=signal.SIGINT):
        self._process.send_signal(number)

    def wait(self):
        """Waits for its end and for the last line of its output; gives the exit code."""
        code = self._process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return code

    def stop(self, number=signal.SIGINT):
        """Tells it to stop; gives the exit code."""
        self.send_signal(number)
        return self.wait()

    def line(self, pattern):
        """Waits for a line on stdout in which the pattern is found; gives the match."""
        return self._until(self.out, lambda line: re.search(pattern, line), repr(pattern))

    def err_line(self, pattern):
        """Waits for a line on stderr in which the pattern is found; gives the match."""
        return self._until(self.err, lambda line: re.search(pattern, line), repr(pattern))

    def object(self, **fields):
        """Waits for a line of JSON on stdout that holds these fields; gives the whole object."""
        def find(line):
            value = json.loads(line)
            return value if all(value.get(key) == wanted for key, wanted in fields.items()) else None

        return self._until(self.out, find, fields)

    def _until(self, lines, find, what):
        def look():
            # Asked before the lines are: what came last still counts.
            ended = not any(reader.is_alive() for reader in self._readers)
            found = next(filter(None, map(find, list(lines))), None)
            if ended and not found:
                raise AssertionError(f"it ended without {what}: {self}")
            return found

        return until(look, lambda: f"{what}: {self}")

    def __str__(self):
        text = "\n  ".join([" ".join(("lapwing", *self.arguments)), "stdout:", *self.out[-40:], "stderr:", *self.err[-40:]])
        return f"{text}\n  ended: {self._process.poll()}"


class Server(Program):
    """`lapwing serve` on a free port, or on the port of one that is gone."""

    def __init__(self, *arguments, port=0, output="json", **options):
        super().__init__("serve", "--listen", f"127.0.0.1:{port}", "--output", output, *arguments, **options)
        if output == "json":
            self.address = self.object(event="ready")["address"]
        else:
            self.address = self.err_line(r"ws://(\S+)")[1]
        self.host, port = self.address.rsplit(":", 1)
        self.port = int(port)

    def ws(self, query=""):
        return f"ws://{self.address}/{query}"

    def http(self, path="/"):
        return f"http://{self.address}{path}"

    def publish(self, topic, *values):
        """Publishes values as lines of JSON; gives the acknowledgement."""
        body = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
        request = urllib.request.Request(
            self.http(f"/topics/{topic}/messages"), body, {"Content-Type": "application/x-ndjson"}
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.load(answer)
