"""A TCP relay between a process and its database, whose cable can be pulled: what is sent is lost, and nobody is told."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Relay:
    """Forwards connections to a server. ``cut`` stops all bytes in both directions; ``mend`` lets them flow again."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]

        self._is_cut = threading.Event()
        self._is_over = threading.Event()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        for end in [*self._peers, self._listening]:
            end.close()

    def cut(self) -> None:
        """Pull the cable."""
        self._is_cut.set()

    def mend(self) -> None:
        """Put it in again. What was under way in a connection goes on, as after a short outage."""
        self._is_cut.clear()

    def through(self, url: str) -> str:
        """This database URL, led through the relay."""
        parts = urlsplit(url)
        netloc = f"{parts.username}@127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=netloc))

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            while not self._is_over.is_set():
                for key, _ in selector.select(0.02):
                    if self._is_cut.is_set():
                        # Nothing is read, so nothing is answered: the kernel's buffers fill up on both sides.
                        self._is_over.wait(0.02)
                        break
                    if key.fileobj is self._listening:
                        self._accept(selector)
                    else:
                        self._pass_on(selector, key.fileobj)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listening.accept()
        try:
            far = socket.create_connection(self.target)
        except OSError:
            near.close()
            return
        self._peers |= {near: far, far: near}
        for end in (near, far):
            selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, source: socket.socket) -> None:
        target = self._peers.get(source)
        if target is None:
            return
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            target.sendall(data)
        if not data:
            for end in (source, target):
                selector.unregister(end)
                del self._peers[end]
                end.close()
