"""A union catalogue on this machine: counts the calls, and refuses those that come too often."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from demo.processes import LOCALHOST

#: Calls that it answers in any second; others are told to come back.
CALLS_A_SECOND = 5


class Catalogue:
    """Listens while the ``with`` block lasts."""

    def __init__(self) -> None:
        # Written by the server's threads, under the lock.
        self._lock = threading.Lock()
        self._moments: list[float] = []
        self.calls = 0
        self.refused = 0
        self.titles: dict[int, str] = {}

        self._server = ThreadingHTTPServer((LOCALHOST, 0), type("Handler", (_Handler,), {"catalogue": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, name="catalogue", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOCALHOST}:{self._server.server_address[1]}/"

    @property
    def environ(self) -> dict[str, str]:
        """What tells another process of this project of it."""
        return {"CATALOGUE_URL": self.url}

    def take(self, titles: dict[int, str]) -> dict[int, str] | None:
        """Note documents; what is wrong with some, or nothing at all if this call is one too many."""
        now = time.monotonic()
        with self._lock:
            self._moments = [moment for moment in self._moments if now - moment < 1]
            if len(self._moments) >= CALLS_A_SECOND:
                self.refused += 1
                return None
            self._moments.append(now)
            self.calls += 1
            self.titles |= {pk: title for pk, title in titles.items() if title}
        return {pk: "it has no title" for pk, title in titles.items() if not title}


class _Handler(BaseHTTPRequestHandler):
    catalogue: Catalogue

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        titles = {int(pk): title for pk, title in json.loads(self.rfile.read(length)).items()}
        problems = self.catalogue.take(titles)
        body = json.dumps(problems or {}).encode()
        self.send_response(429 if problems is None else 200)
        if problems is None:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
