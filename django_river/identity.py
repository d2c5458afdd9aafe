"""Who a client is: its id, its version."""

from __future__ import annotations

import os
import re
import secrets
import socket
from importlib import metadata


def unique_client_id(name: str | None = None) -> str:
    """An id that no other process start has: a name or the host, the pid, and something random.

    It is at most 100 characters, as River wants it, and may be read by people.
    """
    base = re.sub(r"[^\w.\-]", "_", name or socket.gethostname())[:60]
    return f"{base}_{os.getpid()}_{secrets.token_hex(4)}"


def version() -> str:
    """The version of this package, as it is installed."""
    try:
        return metadata.version("django-riverqueue")
    except metadata.PackageNotFoundError:
        return "unknown"
