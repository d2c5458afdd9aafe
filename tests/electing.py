"""Electors on real storage, each with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import OperationalError
from django.utils import timezone

from django_river import storage
from django_river.leader_options import LeaderElectionConfig
from django_river.leader_policy import Candidacy, SettingsPolicy
from django_river.leadership import Elector
from django_river.models import Leader
from tests.factories import ClientFactory

TTL = 15.0


class Clock:
    """Monotonic time that stands still until it is told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Standing(Elector):
    """An elector that remembers what it has said."""

    clock: Clock

    @property
    def said(self) -> list[str]:
        """What has become of its terms since asked last: ``elected``, or why one ended."""
        return [news.why.value if news.why else "elected" for news in self.take_news()]


def candidacy(preference: int = 0, objection: str = "") -> Candidacy:
    """A candidacy that has been asked already."""
    made = Candidacy(SettingsPolicy(LeaderElectionConfig(preference=preference)), forbidden=lambda: objection)
    made.objection, made.preference = objection, preference
    return made


class Stand:
    """Makes electors, each with a storage of its own; ``close`` closes them all."""

    def __init__(self, using: str, clock: Clock) -> None:
        self.using = using
        self.clock = clock
        self._opened: list[storage.Storage] = []

    def __call__(
        self,
        client_id: str = "me",
        *,
        clock: Clock | None = None,
        preference: int = 0,
        has_client: bool = False,
        **given: Any,
    ) -> Standing:
        store = storage.open_storage(self.using, timeout=10)
        self._opened.append(store)
        if has_client:
            ClientFactory(id=client_id, preference=preference)
        return Standing(
            **{
                "storage": store, "client_id": client_id, "ttl": TTL, "clock": clock or self.clock,
                "candidacy": candidacy(preference), **given,
            }
        )  # fmt: skip

    def close(self) -> None:
        for store in self._opened:
            store.close()


def expire() -> None:
    """Let the lease run out."""
    Leader.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def away(*args: object, **kwargs: object) -> Any:
    """What every statement says while the database is away."""
    raise OperationalError("away")


def unanswered(statement: Callable[..., Any]) -> Callable[..., Any]:
    """The statement takes effect, and its answer is lost on the way."""

    def run(*args: object, **kwargs: object) -> Any:
        statement(*args, **kwargs)
        raise OperationalError("the connection was lost")

    return run
