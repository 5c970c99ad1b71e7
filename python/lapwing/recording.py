"""Recordings: written as ``lapwing listen --log`` writes them, and read back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from . import _lapwing
from ._lapwing import Message
from .feed import _core


class Recorded(NamedTuple):
    """What a recording amounted to."""

    #: How many messages came and are in the file.
    messages: int
    #: How many offsets did not come and will not; the file says which.
    missed: int
    #: How often the connection was lost and came back.
    reconnects: int


def record(
    url: str,
    log: str | os.PathLike[str],
    *,
    topics: Sequence[str] | None = None,
    block: int = 5,
    start: str | int = "latest",
    name: str | None = None,
    count: int | None = None,
    time: float | None = None,
    report: bool = True,
    fail_on_gap: bool = False,
    connect_timeout: float | None = 10.0,
    token_file: str | os.PathLike[str] | None = None,
    ca: str | os.PathLike[str] | None = None,
    insecure: bool = False,
    compression: bool = False,
) -> Recorded:
    """Record a feed into ``log`` until it ends: by ``count``, by ``time``, by the server, or by Ctrl-C, which raises as ever.

    A recording that is there is gone on with: each offset is in it once, however often either side went down. The other
    arguments are those of ``listen``. ``lapwing verify`` proves what is in it.
    """
    core = _core(locals(), only_record=True)
    try:
        core.connect()
        core.join()
    finally:
        core.close()
    return Recorded(core.count, core.missed, core.reconnects)


def read_log(
    log: str | os.PathLike[str],
    *,
    topic: str | None = None,
    damaged: Literal["raise", "skip"] = "raise",
) -> Iterator[Message]:
    """The messages of a recording in their order, those of rotated and compressed parts before it included.

    :param topic: only those of this one
    :param damaged: raise LogError at a line that is not as it was written, or leave it out
    """
    if damaged not in ("raise", "skip"):
        raise ValueError(f'damaged={damaged!r}: "raise" or "skip"')
    reader = _lapwing.LogReader(log, topic, damaged == "skip")
    return (message for block in iter(reader.next, None) for message in block)
