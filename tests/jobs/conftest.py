"""Storage, for what is only true if a database keeps it."""

from tests.storage.conftest import store

__all__ = ["store"]
