"""The contract of storage, for periodic jobs: which are in force, and how each of them stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from django_river.storage.base import Session


class LiveClient(NamedTuple):
    """A client whose heartbeat is fresh, and the periodic jobs it declares."""

    id: str
    host: str
    pid: int
    started_at: datetime
    #: For how long it has not been heard of.
    silent_seconds: float
    release: str
    registry_hash: str


class RegistryInForce(NamedTuple):
    """The periodic jobs that are enqueued: which, of which release, and since when."""

    hash: str
    release: str
    since: datetime


class PeriodicState(NamedTuple):
    """What has to be known of an entry's row when another registry comes into force."""

    name: str
    entry: str
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicRow:
    """An entry of the registry that comes into force."""

    name: str
    kind: str
    schedule: str
    entry: str
    fingerprint: str
    next_run_at: datetime | None
    extra_run_at: datetime | None = None
    expect_success_within: float | None = None


class PeriodicStorage(ABC):
    """Registries and periodic jobs, on the session of a :class:`~django_river.storage.base.Storage`."""

    statements: ClassVar[Any]

    def __init__(self, session: Session) -> None:
        self.session = session

    def atomic(self) -> AbstractContextManager[Any]:
        """Several operations in one transaction; joins one that is open."""
        return self.session.atomic()

    @abstractmethod
    def now(self) -> datetime:
        """The time by the clock that decides about rows."""

    @abstractmethod
    def client_list_live(self, client_timeout: timedelta) -> list[LiveClient]:
        """The clients that were heard of within ``client_timeout`` and say what they declare; the oldest first."""

    @abstractmethod
    def periodic_list_states(self) -> list[PeriodicState]:
        """How the entries of the registry in force stand."""

    @abstractmethod
    def periodic_replace(self, rows: Sequence[PeriodicRow]) -> None:
        """Let these be all entries there are. What an entry that stays has been through is kept."""

    @abstractmethod
    def registry_in_force(self) -> RegistryInForce | None:
        """The registry in force, if there has ever been one."""

    @abstractmethod
    def registry_lock(self) -> None:
        """Let nobody else settle which registry is in force until the transaction ends; reading goes on."""

    def registry_enforce(self, hash: str, release: str) -> None:
        """Put a published registry into force, in place of the one that is."""
        with self.atomic():
            self._run("registry_depose")
            self._run("registry_enforce", hash=hash, release=release)

    def registry_entries(self, hash: str) -> str | None:
        """A published registry's canonical JSON."""
        rows = self._run("registry_entries", hash=hash)
        return rows[0][0] if rows else None

    def registry_publish(self, hash: str, release: str, entries: str) -> None:
        """Store a registry, and forget those that are neither in force nor declared by a client that has a row."""
        with self.atomic():
            self._run("registry_forget", hash=hash)
            self._run("registry_publish", hash=hash, release=release, entries=entries)

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return self.session.execute(self.statements[statement], params)
