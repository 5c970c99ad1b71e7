"""Live feeds of a Lapwing server: blocks with their times as NumPy arrays, resumed without loss, recorded and published.

    import lapwing

    with lapwing.listen("ws://127.0.0.1:8765", topics=["arrays"], block=5) as feed:
        for block in feed:
            print(block.array.mean(), block.elapsed)
"""

from ._lapwing import Block, Message
from .errors import ConnectError, Error, GapError, LogError, RefusedError, ShapeError
from .feed import Feed, Messages, listen
from .publishing import Published, Publisher, publish
from .recording import Recorded, read_log, record

__all__ = [
    "Block",
    "ConnectError",
    "Error",
    "Feed",
    "GapError",
    "LogError",
    "Message",
    "Messages",
    "Published",
    "Publisher",
    "Recorded",
    "RefusedError",
    "ShapeError",
    "listen",
    "publish",
    "read_log",
    "record",
]
