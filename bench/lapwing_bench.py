"""What the benchmark scripts share: a server on a free port, its numbers from /proc, and the machine's description."""
import json
import os
import pathlib
import platform
import resource
import signal
import socket
import subprocess
import sys
import time
import typing

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

    def __init__(self, *arguments, stdin=None, stderr=None):
        self.process = subprocess.Popen(
            [binary(), "serve", "--listen", "127.0.0.1:0", "--json", *arguments],
            stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True)
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


class Places(typing.NamedTuple):
    """Cores for a server and for its load, and what is not as it should be about them."""
    server: set
    load: set
    warnings: list


def cores(for_server=1):
    """The first cores for the server, the last for the load."""
    mine = sorted(os.sched_getaffinity(0))
    places = Places(set(mine[:for_server]), {mine[-1]}, [])
    if places.server & places.load:
        places.warnings.append(f"not comparable: the server and its load share a core, there are only {len(mine)}")
    siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{mine[-1]}/topology/thread_siblings_list")
    shared = (places.server - places.load) & numbers(siblings.read_text() if siblings.exists() else "")
    if shared:
        places.warnings.append(f"not comparable: cores {min(shared)} and {mine[-1]} are two threads of one core")
    return places


def numbers(text):
    """A list of cores as the kernel writes it: 0-2,8."""
    ranges = [part.split("-") for part in text.strip().split(",") if part]
    return {number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1)}


def pinned(core_set):
    """What a child does first: it stays on these cores, and may open as many files as it is allowed."""
    def prepare():
        os.sched_setaffinity(0, core_set)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return prepare


def behind(core_set, niceness):
    """As `pinned`, and behind whatever else these cores are for."""
    prepare = pinned(core_set)

    def whole():
        prepare()
        # However the script was started itself.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.nice(niceness)
    return whole


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, patience=30):
    """Waits until a server lets somebody in."""
    until = time.monotonic() + patience
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended with {process.returncode} before it listened") from None
            if time.monotonic() > until:
                raise RuntimeError(f"{process.args[0]} does not listen after {patience} s") from None
            time.sleep(0.02)


def proportional_memory(process):
    """Memory of a process in bytes, of what it shares its part (Pss)."""
    for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("smaps_rollup has no Pss")


class Others:
    """How much of the machine goes to programs that are no part of a measurement, and to its neighbours on the same metal."""

    def __init__(self, own):
        self.own = set(own)
        self.began = time.monotonic()
        self.before, self.stolen_before = self.ran(), stolen_seconds()

    def share(self):
        """CPU seconds of others in a second, since this was made."""
        now = self.ran()
        ran = sum(nanos - self.before.get(process, 0) for process, nanos in now.items())
        return (ran / 1e9 + stolen_seconds() - self.stolen_before) / (time.monotonic() - self.began)

    def ran(self):
        """Nanoseconds on a core so far, of every other program; what the kernel does in threads of its own is work of those measured."""
        found = {}
        for folder in pathlib.Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) in self.own:
                continue
            try:
                if (folder / "cmdline").read_bytes():
                    found[folder.name] = sum(int((task / "schedstat").read_text().split()[0]) for task in (folder / "task").iterdir())
            except OSError:
                continue  # It ended meanwhile.
        return found


def stolen_seconds():
    """How long the machine's cores were somebody else's, if it is a virtual one."""
    return int(pathlib.Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")


def stop(process):
    """Ends a process that has nothing to lose, and waits for it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def machine():
    """One line about the machine."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, {time.strftime('%Y-%m-%d')}"
