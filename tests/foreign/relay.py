"""A way to a server that can be cut, or lead elsewhere: a TCP relay on this machine."""

import socket
import threading


class Relay:
    """Passes bytes on between its own port and another one."""

    def __init__(self, port):
        self._to = port
        self._ways = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.cut()

    def lead_to(self, port):
        """Leads to another port from now on, or nowhere; what there is is cut."""
        self._to = port
        self.cut()

    def cut(self):
        """Ends every connection there is; new ones pass."""
        while self._ways:
            for end in self._ways.pop():
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # Its peer was faster.

    def _accept(self):
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            if self._to is None:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ways.append((near, far))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    @staticmethod
    def _pass(source, sink):
        with source:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # It was cut.
