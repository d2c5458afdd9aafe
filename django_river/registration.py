"""Which periodic jobs are in force, and where this client stands: settled before it works any job or seeks the lead.

Every client declares a registry of periodic jobs, known by its hash, and a release. One registry is in force: the leader
enqueues its jobs. A client that declares it may lead. One that declares another takes over if its release is higher than
all that hold the one in force; otherwise it does not start, or starts as a follower, which works jobs and never leads.
With no client alive any registry comes into force.

All who settle hold one lock, from looking who is there to being there themselves; so of two that start at the same
instant the second sees the first. Running clients are told, and look again now and then: whose registry is in force no longer stops
leading, and when those who held it are gone, those who are left settle anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings as project

from django_river.conf import Config
from django_river.exceptions import ConfigError, DefinitionError, RegistryMismatch
from django_river.jobs.periodic import declared
from django_river.jobs.periodic_differences import differences
from django_river.jobs.periodic_registry import PeriodicEntry, PeriodicRegistry, canonical_json
from django_river.jobs.releases import compare
from django_river.storage.periodic import (
    LiveClient,
    PeriodicRow,
    PeriodicState,
    PeriodicStorage,
    RegistryInForce,
)

logger = logging.getLogger(__name__)

#: How often a running client looks which registry is in force, in seconds; one that listens is told.
LOOK_POLLING, LOOK_LISTENING = 1.0, 30.0
#: The same of one whose registry is not in force: nobody tells it that those who held the other one are gone.
LOOK_ASIDE = 5.0
#: A refusal names so many of the clients that hold the other registry.
CLIENTS_NAMED = 10
#: What decides when an entry runs: while this stays, so does its next run.
_TIMING = ("cron", "every", "timezone", "start_at", "enabled")


class Verdict(StrEnum):
    """Where a client stands to the registry in force."""

    #: It declares the very same.
    JOINS = "joins"
    #: Its registry comes into force.
    ADOPTS = "adopts"
    LOWER = "lower"
    SAME_RELEASE = "same release"
    INCOMPARABLE = "incomparable"

    @property
    def may_lead(self) -> bool:
        """Whether its registry is, or comes to be, the one in force."""
        return self in (Verdict.JOINS, Verdict.ADOPTS)


def strongest(in_force: RegistryInForce | None, clients: Sequence[LiveClient]) -> LiveClient | None:
    """The client that speaks for the registry in force, or would if its holders are gone: that of the highest release."""
    holders = [client for client in clients if in_force is not None and client.registry_hash == in_force.hash]
    found: LiveClient | None = None
    for client in holders or clients:
        if found is None or (compare(client.release, found.release) or 0) > 0:
            found = client
    return found


def judge(
    hash: str, release: str, in_force: RegistryInForce | None, clients: Sequence[LiveClient]
) -> Verdict:
    """Where a client with this registry and release stands among those that live."""
    rival = strongest(in_force, clients)
    if rival is None:
        return Verdict.ADOPTS
    order = compare(release, rival.release)
    if hash == rival.registry_hash:
        is_in_force = in_force is not None and in_force.hash == hash
        return Verdict.JOINS if is_in_force and order != 1 else Verdict.ADOPTS
    return {
        1: Verdict.ADOPTS,
        0: Verdict.SAME_RELEASE,
        -1: Verdict.LOWER,
        None: Verdict.INCOMPARABLE,
    }[order]


class Registration:
    """One client's place in the registry. Used by the thread that starts the client, then by its keeper."""

    def __init__(
        self,
        *,
        storage: PeriodicStorage,
        registry: PeriodicRegistry,
        release: str,
        client_timeout: float,
        follows_mismatch: bool,
        announce: Callable[[], object],
        on_change: Callable[[], None] = lambda: None,
        is_listening: Callable[[], bool] = lambda: False,
    ) -> None:
        self.storage = storage
        self.registry = registry
        self.release = release
        self.client_timeout = timedelta(seconds=client_timeout)
        self.follows_mismatch = follows_mismatch
        #: Writes the client's row, with our :attr:`objection`, in the transaction that settles.
        self.announce = announce
        self.on_change = on_change
        self.is_listening = is_listening

        #: Why this client may not lead, in words; empty if it may.
        self.objection = ""

    def enter(self) -> None:
        """Publish what this client declares, and announce the client, if it may start.

        Raises :class:`RegistryMismatch` if it may not; nothing is written then.
        """
        with self.storage.atomic():
            self.storage.registry_lock()
            in_force = self.storage.registry_in_force()
            clients = self.storage.client_list_live(self.client_timeout)
            verdict = judge(self.registry.hash, self.release, in_force, clients)
            if not (verdict.may_lead or self.follows_mismatch):
                raise RegistryMismatch(self._refusal(verdict, in_force, clients))
            self.storage.registry_publish(self.registry.hash, self.release, self.registry.canonical_json)
            if verdict is Verdict.ADOPTS:
                self._adopt(is_start=True)
            self.objection = self._reason(verdict, in_force, clients)
            self.announce()
        if self.objection:
            logger.warning("this client works jobs and does not lead: %s", self.objection)

    def look(self) -> float:
        """See whether our registry is still in force, or could be again; answer in how many seconds to look again."""
        self._compare()
        if not self.is_listening():
            return LOOK_POLLING
        return LOOK_ASIDE if self.objection else LOOK_LISTENING

    def _compare(self) -> None:
        in_force = self.storage.registry_in_force()
        if in_force is not None and in_force.hash == self.registry.hash:
            self._stand("")
            return
        clients: Sequence[LiveClient] = self.storage.client_list_live(self.client_timeout)
        verdict = judge(self.registry.hash, self.release, in_force, clients)
        if verdict.may_lead:
            verdict, in_force, clients = self._try_to_adopt()
        self._stand(self._reason(verdict, in_force, clients))

    def _try_to_adopt(self) -> tuple[Verdict, RegistryInForce | None, Sequence[LiveClient]]:
        with self.storage.atomic():
            self.storage.registry_lock()
            in_force = self.storage.registry_in_force()
            clients = self.storage.client_list_live(self.client_timeout)
            verdict = judge(self.registry.hash, self.release, in_force, clients)
            if verdict is Verdict.ADOPTS:
                self.storage.registry_publish(self.registry.hash, self.release, self.registry.canonical_json)
                self._adopt(is_start=False)
        return verdict, in_force, clients

    def _adopt(self, *, is_start: bool) -> None:
        now = self.storage.now()
        states = {state.name: state for state in self.storage.periodic_list_states()}
        rows = [
            _row(entry, states.get(entry.name), now=now, is_start=is_start)
            for entry in self.registry.entries.values()
        ]
        self.storage.registry_enforce(self.registry.hash, self.release)
        self.storage.periodic_replace(rows)
        logger.info(
            "%d periodic jobs come into force, %s, hash %s",
            len(rows), named(self.release), self.registry.hash[:12],
        )  # fmt: skip

    def _stand(self, reason: str) -> None:
        if reason == self.objection:
            return
        self.objection = reason
        if reason:
            logger.warning("this client works jobs and does not lead any more: %s", reason)
        else:
            logger.info("this client's periodic jobs are in force again: it may lead")
        self.on_change()

    def _reason(
        self, verdict: Verdict, in_force: RegistryInForce | None, clients: Sequence[LiveClient]
    ) -> str:
        if verdict.may_lead:
            return ""
        rival = strongest(in_force, clients)
        assert rival is not None
        return (
            f"its periodic jobs ({named(self.release)}) are not those in force "
            f"({named(rival.release)}, held by {rival.id})"
        )

    def _refusal(
        self, verdict: Verdict, in_force: RegistryInForce | None, clients: Sequence[LiveClient]
    ) -> str:
        rival = strongest(in_force, clients)
        assert rival is not None
        holders = [client for client in clients if client.registry_hash == rival.registry_hash]
        theirs = json.loads(self.storage.registry_entries(rival.registry_hash) or '{"entries": []}')
        lines = differences(self.registry.canonical, theirs["entries"]).lines()
        since = f", in force since {_moment(in_force.since)}" if in_force else ""
        return "\n".join(
            [
                "other periodic jobs are in force, so this worker does not start.",
                "",
                f"  here:  {named(self.release)}, hash {self.registry.hash[:12]}",
                f"  there: {named(rival.release)}, hash {rival.registry_hash[:12]}{since}",
                "",
                *(f"  {line}" for line in lines or ["(They differ in the form they are written in.)"]),
                "",
                "  Held by:",
                *(f"    {_described(client)}" for client in holders[:CLIENTS_NAMED]),
                *([f"    and {len(holders) - CLIENTS_NAMED} more"] if len(holders) > CLIENTS_NAMED else []),
                "",
                f"  {_advice(verdict, self.release, rival.release)}",
                f"  Clients that were killed count until a leader has seen it: for seconds, or CLIENT_TIMEOUT ({self.client_timeout.total_seconds():g} s) if there is none.",
            ]
        )


def declared_registry(config: Config) -> PeriodicRegistry:
    """What this process declares, by ``@periodic`` and in its settings.

    Raises :class:`ConfigError` with everything that is wrong.
    """
    try:
        return PeriodicRegistry.build(
            declared, config.periodic, timezone=project.TIME_ZONE, max_args_bytes=config.max_args_bytes
        )
    except DefinitionError as error:
        raise ConfigError(str(error)) from error


def named(release: str) -> str:
    """A release for messages."""
    return f"release {release}" if release else "no release declared"


def _row(entry: PeriodicEntry, state: PeriodicState | None, *, now: datetime, is_start: bool) -> PeriodicRow:
    told, canonical = entry.declaration, entry.canonical
    next_run_at = None
    if told.enabled:
        if state is not None and _timing(json.loads(state.entry)) == _timing(canonical):
            next_run_at = state.next_run_at
        next_run_at = next_run_at or entry.schedule.first(now, start_at=told.start_at)
    within = entry.expect_success_within
    return PeriodicRow(
        name=entry.name,
        kind=entry.kind,
        schedule=entry.words if told.enabled else "never",
        entry=canonical_json(canonical),
        fingerprint=entry.fingerprint,
        next_run_at=next_run_at,
        extra_run_at=now if is_start and told.run_on_start and told.enabled else None,
        expect_success_within=within.total_seconds() if within else None,
    )


def _timing(entry: Any) -> list[Any]:
    return [entry.get(field) for field in _TIMING]


def _described(client: LiveClient) -> str:
    return (
        f"{client.id}: host {client.host}, pid {client.pid}, since {_moment(client.started_at)}, "
        f"{named(client.release)}, last heard of {client.silent_seconds:.0f} s ago"
    )


def _moment(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _advice(verdict: Verdict, ours: str, theirs: str) -> str:
    if verdict is Verdict.LOWER:
        return "The other release is higher: deploy it here, too. With ON_MISMATCH = 'follow' this worker would work jobs and never lead."
    if verdict is Verdict.INCOMPARABLE:
        return f"Nobody can tell whether {ours!r} is higher than {theirs!r}: declare versions, dates or build numbers as RELEASE."
    return "Both are the same release: deploy the same code everywhere, or declare a higher RELEASE to take over."
