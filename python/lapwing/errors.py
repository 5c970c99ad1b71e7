"""What can go wrong: every error of this package is an ``Error``, and wrong arguments are a ``ValueError`` or ``TypeError``."""

from __future__ import annotations


class Error(Exception):
    """Something of Lapwing failed; its text says what, and a way out."""


class ConnectError(Error):
    """No server took us in time, or at all."""


class RefusedError(Error):
    """A server said no, and would say so again.

    ``code`` is the status of HTTP or the close code as an int, or the word of the subprotocol, such as ``unknown_topic``.
    """

    def __init__(self, sentence: str, code: int | str) -> None:
        super().__init__(sentence)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.code)


class GapError(Error):
    """Messages are missing, and ``fail_on_gap=True`` was asked for."""


class LogError(Error):
    """A recording cannot be written, or is not as it was written."""


class ShapeError(Error, ValueError):
    """Messages are not numbers of one shape and dtype, so there is no array of them."""
