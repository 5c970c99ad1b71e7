"""What the benchmark scripts share: a server on a free port, its numbers from /proc, and the machine's description."""
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def binary():
    """The release binary, built if need be."""
    given = os.environ.get("LAPWING")
    if given:
        return given
    built = subprocess.run(
        ["cargo", "build", "--release", "--quiet", "-p", "lapwing", "--message-format=json-render-diagnostics"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "lapwing":
            return message["executable"]
    sys.exit("cargo built no lapwing")


class Server:
    """A server on a free port; its events are JSON lines."""

    def __init__(self, *arguments, stderr=None):
        self.process = subprocess.Popen(
            [binary(), "serve", "--listen", "127.0.0.1:0", "--json", *arguments],
            stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.ready = json.loads(self.process.stdout.readline())
        self.url = "ws://" + self.ready["address"]

    def cpu_seconds(self):
        """CPU time of all its threads so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self):
        """Resident memory."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self):
        """Stops it and gives its exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.stdout.close()
        return self.process.wait(timeout=30)


def machine():
    """One line about the machine."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, {time.strftime('%Y-%m-%d')}"
