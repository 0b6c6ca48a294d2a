"""A TCP proxy on loopback that can swallow, cut and refuse what passes, for tests of lost connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable


class Proxy:
    """Carry bytes to a port. ``mode`` is "pass", "swallow" (a black hole) or "refuse".

    ``on_request`` may look at bytes on their way to the server and return what happens: "" for nothing, "before" to cut
    the connection before they arrive, "after" to let them arrive and cut before the answer.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.mode = "pass"
        self.on_request: Callable[[bytes], str] = lambda data: ""
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Close every connection there is."""
        for pair in self._pairs:
            self._close(pair)
        self._pairs.clear()

    def close(self) -> None:
        """End the proxy."""
        self._listener.close()
        self.cut()

    @staticmethod
    def _close(pair: tuple[socket.socket, socket.socket]) -> None:
        for one in pair:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                client.close()
                continue
            if self.mode == "swallow":
                self._pairs.append((client, client))  # it is connected, and nobody ever answers
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._to), timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            pair = (client, server)
            self._pairs.append(pair)
            for one, other, asks in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=(pair, one, other, asks), daemon=True).start()

    def _carry(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, target: socket.socket,
               asks: bool) -> None:
        muted = False
        while True:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                self._close(pair)
                return
            if self.mode == "swallow" or muted:
                continue
            what = self.on_request(data) if asks else ""
            if what == "before":
                self._close(pair)
                return
            try:
                if what == "after":
                    target.settimeout(5)
                    target.sendall(data)
                    target.recv(1)  # the answer has come, and goes nowhere
                    self._close(pair)
                    return
                target.sendall(data)
            except OSError:
                self._close(pair)
                return
