"""A terminal for a program: a pseudo-terminal, and what would be seen on it."""

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

from program import DEADLINE_S, until

SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])")


class Screen:
    """Cells with what a program drew: the sequences that Lapwing uses, and nothing else."""

    def __init__(self, columns, rows):
        self.resize(columns, rows)
        self.modes = {}
        self.lines = []
        self._rest = ""

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self._clear()

    def _clear(self):
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.x = self.y = 0

    def __str__(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def feed(self, text):
        text = self._rest + text
        self._rest = ""
        while text:
            if text[0] == "\x1b":
                match = SEQUENCE.match(text)
                if not match:
                    assert re.fullmatch(r"\x1b(\[[?\d;]*)?", text), f"an unknown sequence: {text[:40]!r}"
                    self._rest = text
                    return
                self._obey(*match.groups())
                text = text[match.end():]
            else:
                self._show(text[0])
                text = text[1:]

    def _obey(self, private, parameters, letter):
        if not private and self.modes.get(1049) != "h":
            return
        numbers = [int(number) for number in parameters.split(";") if number]
        if private:
            self.modes[numbers[0]] = letter
        elif letter == "H":
            self.y, self.x = (number - 1 for number in (numbers or [1, 1]))
        elif letter == "J":
            self._clear()
        else:
            assert letter in "mK", f"an unknown sequence: {letter}"

    def _show(self, character):
        if self.modes.get(1049) != "h":
            # Not on the whole screen: lines, as in any terminal.
            self.lines.append(character)
            return
        assert character.isprintable() or character in "\u0301\ufe0f", f"drives the terminal: {character!r}"
        if self.y < self.rows and self.x < self.columns:
            self.cells[self.y][self.x] = character
            self.x += 1


class Terminal:
    """`lapwing` on a terminal of its own, with a process to end it and keys to send."""

    def __init__(self, *arguments, size=(100, 30), stdin=None, stderr=None, **environment):
        self.screen = Screen(*size)
        self.all = ""
        self._master, self._slave = pty.openpty()
        self._set_size(*size)
        self.before = termios.tcgetattr(self._slave)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LAPWING_", "LC_", "NO_COLOR"))}
        self._process = subprocess.Popen(
            [os.environ["LAPWING_BIN"], *arguments],
            stdin=stdin or self._slave,
            stdout=self._slave,
            stderr=stderr or self._slave,
            env={**inherited, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
        )
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._problem = None
        self._reader.start()

    def _read(self):
        decode = codecs.getincrementaldecoder("utf-8")().decode
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                text = decode(data)
                self.all += text
                try:
                    self.screen.feed(text)
                except AssertionError as problem:
                    self._problem = problem

    def _set_size(self, columns, rows):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns, rows):
        with self._lock:
            self.screen.resize(columns, rows)
            self._set_size(columns, rows)

    def press(self, keys):
        os.write(self._master, keys.encode())

    def send_signal(self, number=signal.SIGINT):
        self._process.send_signal(number)

    def shows(self, *parts):
        """Waits until all of these stand on the screen."""
        self.until(lambda: all(part in self.text() for part in parts), repr(parts))

    def until(self, condition, what="the condition"):
        def look():
            if self._problem:
                raise self._problem
            return condition()

        return until(look, lambda: f"{what}:\n{self.text()}\n{''.join(self.screen.lines)}")

    def text(self):
        with self._lock:
            return str(self.screen)

    def said(self):
        """What stands on the terminal beside the whole screen."""
        return "".join(self.screen.lines).replace("\r\n", "\n")

    def wait(self):
        """Waits for its end; gives the exit code. What it said has been read then."""
        code = self._process.wait(DEADLINE_S)
        self.after = termios.tcgetattr(self._slave)
        os.close(self._slave)
        self._slave = None
        self._reader.join(DEADLINE_S)
        if self._problem:
            raise self._problem
        return code

    def is_restored(self):
        """Whether the terminal is as it was."""
        modes = {mode: self.screen.modes.get(mode) for mode in (1049, 25, 7)}
        return self.after == self.before and modes == {1049: "l", 25: "h", 7: "h"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._slave is not None:
            os.close(self._slave)
        self._reader.join(DEADLINE_S)
        os.close(self._master)
