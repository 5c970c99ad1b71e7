"""A feed: blocks of messages, or messages one by one, for loops and for asyncio."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType

from . import _lapwing
from ._lapwing import Block, Message
from .errors import Error


def listen(
    url: str = "ws://127.0.0.1:8765",
    *,
    topics: Sequence[str] | None = None,
    block: int = 5,
    start: str | int = "latest",
    name: str | None = None,
    count: int | None = None,
    time: float | None = None,
    report: bool = True,
    log: str | os.PathLike[str] | None = None,
    fail_on_gap: bool = False,
    connect_timeout: float | None = 10.0,
    token_file: str | os.PathLike[str] | None = None,
    ca: str | os.PathLike[str] | None = None,
    insecure: bool = False,
    compression: bool = False,
) -> Feed:
    """Listen as ``lapwing listen`` does: reconnect, resume, time blocks and report the times.

    It begins at once, in a thread of its own; ``with`` and ``async with`` wait until every topic is granted, so that nothing
    which is published after that is missed.

    :param url: the server, or up to 16 with the same topics, separated by commas
    :param topics: at most 100; None is all that there are
    :param block: messages in a block, 1 to 1,000,000: block k has the offsets k * block to k * block + block - 1
    :param start: "latest", "earliest", an offset, "last:100", "-30s" or "@EPOCH:17"
    :param name: how the client is called at the server
    :param count: end after so many messages
    :param time: end so many seconds after the first connection
    :param report: whether the times of blocks are told to the server
    :param log: a recording to write, and to go on from where it ends
    :param fail_on_gap: raise GapError at the first message that is missing, instead of going on
    :param connect_timeout: seconds until ConnectError when no server takes us the first time; None waits for ever
    :param token_file: a file with a token; without it the variable LAPWING_TOKEN counts
    :param ca: a PEM file with certificates to trust, too
    :param insecure: trust any certificate: whoever is on the way can read and change the feed
    :param compression: offer compression to the server
    """
    return Feed(_core(locals()))


def _core(wanted: dict[str, object], *, only_record: bool = False) -> _lapwing.Feed:
    topics = wanted["topics"]
    if isinstance(topics, str):
        raise TypeError(f'topics is a list of names: topics=["{topics}"]')
    wanted["topics"] = None if topics is None else list(topics)  # type: ignore[call-overload]
    wanted["start"] = str(wanted["start"])
    core = _lapwing.Feed(wanted, only_record)
    _open.add(core)
    return core


class Feed:
    """A feed that is listened to; made by ``listen``.

    A loop over it gives blocks, one over ``messages()`` gives messages as they come. At most 64 blocks or 64 MiB wait to be
    taken; then the server is not read until there is room, and what becomes of a slow client is decided by its topic.
    """

    def __init__(self, core: _lapwing.Feed) -> None:
        self._core = core
        self._by_messages: bool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._unawaited = 0

    @property
    def name(self) -> str | None:
        """How the server calls us; None before it said so."""
        return self._core.name

    @property
    def count(self) -> int:
        """How many messages came, as of up to 0.2 s ago."""
        return self._core.count

    @property
    def missed(self) -> int:
        """How many offsets did not come and will not."""
        return self._core.missed

    @property
    def resets(self) -> int:
        """How often another history of a topic began, or the server lost part of one."""
        return self._core.resets

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and came back."""
        return self._core.reconnects

    def messages(self) -> Messages:
        """Messages one by one, as they come, for ``for`` or ``async for``. A feed is read so or in blocks, not both."""
        return Messages(self)

    def close(self) -> None:
        """End it: what was not taken is dropped, the server hears the last report, a recording is on the disk. May be repeated."""
        self._forget_loop()
        self._core.close()

    def __enter__(self) -> Feed:
        try:
            self._core.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        block = self._next(by_messages=False)
        if block is None:
            raise StopIteration
        return block

    async def __aenter__(self) -> Feed:
        try:
            while not self._core.is_connected():
                await self._news(connecting=True)
        except BaseException:
            await self._close_async()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close_async()

    def __aiter__(self) -> AsyncIterator[Block]:
        return self

    async def __anext__(self) -> Block:
        block = await self._next_async(by_messages=False)
        if block is None:
            raise StopAsyncIteration
        return block

    def _next(self, *, by_messages: bool) -> Block | None:
        self._read_by(by_messages)
        return self._core.next(by_messages)

    async def _next_async(self, *, by_messages: bool) -> Block | None:
        self._read_by(by_messages)
        while True:
            block = self._core.take(by_messages)
            if block is not True:
                break
            self._unawaited = 0
            await self._news(connecting=False)
        self._unawaited += 1
        if self._unawaited >= _UNAWAITED_MAX:
            self._unawaited = 0
            await asyncio.sleep(0)
        return block

    def _read_by(self, messages: bool) -> None:
        if self._by_messages is None:
            self._by_messages = messages
        elif self._by_messages != messages:
            what = "by messages" if self._by_messages else "in blocks"
            raise Error(f"this feed is read {what} already; listen a second time for the other")

    async def _news(self, *, connecting: bool) -> None:
        if self._waiter is not None:
            raise Error("somebody else waits for this feed already; listen a second time, or hand its blocks on")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._forget_loop()
            loop.add_reader(self._core.fileno(), self._on_bell)
            self._loop = loop
        if not self._core.arm(connecting):
            return
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _on_bell(self) -> None:
        self._core.answer()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _forget_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._core.fileno())

    async def _close_async(self) -> None:
        self._forget_loop()
        await asyncio.get_running_loop().run_in_executor(None, self._core.close)


class Messages:
    """The messages of a feed one by one; made by ``Feed.messages``."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._these: Iterator[Message] = iter(())

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        while True:
            for message in self._these:
                return message
            block = self._feed._next(by_messages=True)
            if block is None:
                raise StopIteration
            self._these = iter(block)

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        while True:
            for message in self._these:
                return message
            block = await self._feed._next_async(by_messages=True)
            if block is None:
                raise StopAsyncIteration
            self._these = iter(block)


#: So many blocks are given without a turn for others.
_UNAWAITED_MAX = 64

#: Feeds that somebody may have left open.
_open: weakref.WeakSet[_lapwing.Feed] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End what is open while the interpreter still lives."""
    for core in list(_open):
        core.close()
