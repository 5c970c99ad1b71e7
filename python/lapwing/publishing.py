"""Publishing: arrays, dicts and text into a topic of a running server, as ``lapwing publish`` does it."""

from __future__ import annotations

import atexit
import json
import os
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple

import numpy

from . import _lapwing


class Published(NamedTuple):
    """What the server acknowledged."""

    #: How many messages.
    messages: int
    #: The offset of the first, None when there is none.
    first: int | None
    #: The offset of the last. Other publishers' messages may stand between.
    last: int | None
    #: The history that the offsets belong to.
    epoch: str | None


def publish(
    url: str,
    topic: str,
    items: Iterable[Any],
    *,
    timeout: float | None = 10.0,
    token_file: str | os.PathLike[str] | None = None,
    ca: str | os.PathLike[str] | None = None,
    insecure: bool = False,
) -> Published:
    """Publish each item as a message and wait until the server has all of them.

    An item is an array of numbers, or anything that JSON knows: dict, list, str, int, float, bool, None. Items are taken
    only as fast as the server takes them. A message has at most 1 MiB as JSON.

    :param timeout: seconds until ConnectError while the server does not take anything; None tries for ever
    """
    with Publisher(url, topic, timeout=timeout, token_file=token_file, ca=ca, insecure=insecure) as publisher:
        for item in items:
            publisher.send(item)
    return publisher.finish()


class Publisher:
    """Publishes item by item; ``with`` waits at its end until the server has all of them.

    An exception inside ``with`` ends it at once: what was sent before it may be published or not.
    """

    def __init__(
        self,
        url: str,
        topic: str,
        *,
        timeout: float | None = 10.0,
        token_file: str | os.PathLike[str] | None = None,
        ca: str | os.PathLike[str] | None = None,
        insecure: bool = False,
    ) -> None:
        self._core = _lapwing.Publisher(url, topic, timeout, token_file, ca, insecure)
        _open.add(self._core)

    def send(self, item: Any) -> None:
        """Send one item; waits while more than a few thousand are on their way. It is published once ``finish`` returns."""
        if isinstance(item, numpy.ndarray):
            self._core.send_array(_elements(item), item.dtype.str.lstrip("<>=|"), item.shape)
        elif isinstance(item, (bytes, bytearray, memoryview)):
            raise TypeError("bytes are not published, since they are no JSON; numpy.frombuffer(item, numpy.uint8) makes an array")
        else:
            self._core.send(_encode(item))

    def finish(self) -> Published:
        """Wait until the server has all that was sent; nothing can be sent afterwards."""
        return Published(*self._core.finish())

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self._core.close()


def _elements(array: numpy.ndarray[Any, Any]) -> bytes:
    if array.dtype.kind not in "iuf" or array.dtype.itemsize not in (1, 2, 4, 8) or array.dtype == numpy.float16:
        raise TypeError(
            f"an array of {array.dtype} is not published: of int8 to int64, uint8 to uint64, float32 and float64; "
            "astype makes one of them"
        )
    if not 1 <= array.ndim <= 32 or array.size == 0:
        raise ValueError(f"an array of shape {array.shape} is not published: 1 to 32 axes, none of length 0")
    if array.dtype.kind == "f" and not numpy.isfinite(array).all():
        raise ValueError("an array with NaN or infinity is not published: JSON has neither")
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _plain(item: Any) -> Any:
    if isinstance(item, (numpy.ndarray, numpy.generic)):
        return item.tolist()
    raise TypeError(f"{type(item).__name__} is nothing that JSON knows: an array, dict, list, str, number, bool or None")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode

#: Publishers that somebody may have left open.
_open: weakref.WeakSet[_lapwing.Publisher] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End what is open while the interpreter still lives."""
    for core in list(_open):
        core.close()
