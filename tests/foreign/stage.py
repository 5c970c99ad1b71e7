"""A server with clients of every kind, as a picture shows them: three that keep up, one that reads late, one that stands still, one
that sends no reports; two topics."""

import contextlib
import signal

from websockets.sync.client import connect

from program import Program, Server
from reader import Reader

STEADY = ("sensor-1", "sensor-3", "sensor-4", "probe-9")
ARRAYS_EVERY_S = 2.0
# One that stands still would be closed after 10 s: it is to be seen.
PINGS = ("--ping-interval", "1s", "--pong-timeout", "5m")


@contextlib.contextmanager
def staged(times=1.0):
    """Gives the server, and a function after which one client stands still. All goes so many times as fast."""
    tick_ms = round(1000 * ARRAYS_EVERY_S / times)
    topics = ("--topic", f"users=users?every={tick_ms // 2}ms", "--topic", f"arrays=arrays?every={tick_ms}ms&burst=5")
    with contextlib.ExitStack() as those:
        server = those.enter_context(Server(*topics, *PINGS, "--seed", "7"))
        listeners = [those.enter_context(Program("listen", f"ws://{server.address}", "--name", name, "--quiet")) for name in STEADY]
        # A package of five is read in 1.4 times the time in which it is made: so after minutes what it reads is still kept.
        those.enter_context(Reader(server, "arrays", "sensor-2", pause_s=1.4 * tick_ms / 5000, block=5))
        plain = those.enter_context(connect(server.ws("?name=wall-display&topics=users"), max_queue=None))
        plain.send("display in the hall, second floor")
        for name in (*STEADY, "sensor-2", "wall-display"):
            server.object(event="joined", client=name)
        yield server, lambda: listeners[-1].send_signal(signal.SIGSTOP)
