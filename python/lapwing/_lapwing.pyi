from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, final

import numpy
from numpy.typing import NDArray

__all__ = ["Block", "Feed", "LogReader", "Message", "Publisher"]

@final
class Block:
    """A block of messages of one topic, with the times that it took."""

    @property
    def topic(self) -> str:
        """The topic; "-" on a feed that has none."""
    @property
    def epoch(self) -> str | None:
        """The history that the offsets belong to, 32 hexadecimal digits; None on a feed that names none."""
    @property
    def number(self) -> int | None:
        """Its number: the first offset divided by the size of a block."""
    @property
    def elapsed(self) -> float | None:
        """Seconds from the end of the block before to its own; None for the first block."""
    @property
    def spread(self) -> float:
        """Seconds from the arrival of its first message to that of its last."""
    @property
    def first(self) -> int | None:
        """The first offset that came of it; on a feed without offsets the number of the message, from 0."""
    @property
    def last(self) -> int | None:
        """The last offset that came of it."""
    @property
    def flags(self) -> tuple[str, ...]:
        """Why its time does not count: words such as "first", "partial", "gap", "interrupted"."""
    @property
    def bytes(self) -> int | None:
        """Payload bytes on the wire."""
    @property
    def array(self) -> NDArray[Any]:
        """All of it as one array, its messages along the first axis. Arrays are moved into it, not copied."""
    @property
    def data(self) -> list[Any]:
        """What each message says: an array, a dict, list, number, text or bytes."""
    @property
    def raw(self) -> list[Any]:
        """The same, JSON as the text that it is."""
    @property
    def offsets(self) -> NDArray[numpy.uint64]:
        """The offsets, as an array of uint64."""
    @property
    def times(self) -> NDArray[numpy.datetime64]:
        """When the server appended each message, as an array of datetime64[ns]."""
    @property
    def received(self) -> NDArray[numpy.datetime64]:
        """When each message was received, as an array of datetime64[ns]."""
    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> Message: ...
    def __iter__(self) -> Iterator[Message]: ...

@final
class Message:
    """One message. It keeps the block that it came with in memory."""

    @property
    def topic(self) -> str:
        """The topic; "-" on a feed that has none."""
    @property
    def epoch(self) -> str | None:
        """The history that the offset belongs to."""
    @property
    def offset(self) -> int | None:
        """Its place in the topic; None on a feed without offsets."""
    @property
    def time(self) -> datetime | None:
        """When the server appended it, a datetime in UTC; None on a feed that does not say so."""
    @property
    def received(self) -> datetime:
        """When it was received, a datetime in UTC."""
    @property
    def mono(self) -> int:
        """The same on this machine's monotonic clock, in nanoseconds."""
    @property
    def data(self) -> Any:
        """What it says: an array, a dict, list, number, text or bytes."""
    @property
    def raw(self) -> Any:
        """The same, JSON as the text that it is."""
    @property
    def array(self) -> NDArray[Any]:
        """Its numbers as an array, also where they came as JSON."""

@final
class Feed:
    def __new__(cls, wanted: dict[str, object], only_record: bool) -> Feed: ...
    def connect(self) -> None: ...
    def is_connected(self) -> bool: ...
    def next(self, messages: bool) -> Block | None: ...
    def take(self, messages: bool) -> Block | Literal[True] | None: ...
    def arm(self, connecting: bool) -> bool: ...
    def answer(self) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def join(self) -> None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def count(self) -> int: ...
    @property
    def missed(self) -> int: ...
    @property
    def resets(self) -> int: ...
    @property
    def reconnects(self) -> int: ...

@final
class LogReader:
    def __new__(cls, path: str | os.PathLike[str], topic: str | None, skips_damage: bool) -> LogReader: ...
    def next(self) -> Block | None: ...

@final
class Publisher:
    def __new__(
        cls,
        url: str,
        topic_name: str,
        timeout: float | None,
        token_file: str | os.PathLike[str] | None,
        ca: str | os.PathLike[str] | None,
        insecure: bool,
    ) -> Publisher: ...
    def send(self, value: str) -> None: ...
    def send_array(self, elements: bytes, code: str, shape: tuple[int, ...]) -> None: ...
    def finish(self) -> tuple[int, int | None, int | None, str | None]: ...
    def close(self) -> None: ...
