"""What the tests of foreign clients share: servers, a browser, and an account of what was skipped."""

import os
import pathlib
import shutil
import subprocess

import pytest

from browser import Browser
from program import Server

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def server():
    """A server with both default topics, fast enough for a test."""
    with Server("--topic", "users=users?every=20ms", "--topic", "arrays=arrays?every=50ms", "--seed", "1") as server:
        yield server


@pytest.fixture
def pushed():
    """A server whose one topic, `orders`, is filled by the test."""
    with Server("--topic", "orders=push") as server:
        yield server


@pytest.fixture
def compressing():
    """A server that compresses messages for clients that ask; its one topic, `orders`, is filled by the test."""
    with Server("--topic", "orders=push", "--compression", "on") as server:
        yield server


@pytest.fixture(scope="session")
def npm(tmp_path_factory):
    """Runs a JavaScript file where `ws` is installed."""
    modules = pathlib.Path(os.environ["LAPWING_NPM"])

    def run(script, *arguments):
        folder = tmp_path_factory.mktemp("npm")
        (folder / "node_modules").symlink_to(modules)
        shutil.copy(script, folder)
        return subprocess.Popen(
            ["node", script.name, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return run


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One headless Chromium for all tests; each page has a profile of its own."""
    with Browser(os.environ["LAPWING_CHROMIUM"], os.environ["LAPWING_NPM"], tmp_path_factory.mktemp("profile")) as browser:
        yield browser


NEEDS = {
    "npm": lambda: shutil.which("node") and os.environ.get("LAPWING_NPM"),
    "chromium": lambda: NEEDS["npm"]() and os.environ.get("LAPWING_CHROMIUM"),
    "curl": lambda: shutil.which("curl"),
    "openssl": lambda: shutil.which("openssl"),
    "nats-server": lambda: os.environ.get("LAPWING_NATS_SERVER"),
    "systemd-analyze": lambda: shutil.which("systemd-analyze"),
    "promtool": lambda: shutil.which(os.environ.get("LAPWING_PROMTOOL") or "promtool"),
}


def pytest_runtest_setup(item):
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if not NEEDS[name]():
                pytest.skip(f"{name} is not there")


def pytest_runtest_logreport(report):
    """Notes each skipped test where scripts/test gathers what did not run."""
    place = os.environ.get("LAPWING_SKIPS")
    if report.skipped and place:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        with open(place, "a", encoding="utf-8") as skips:
            skips.write(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}\n")
