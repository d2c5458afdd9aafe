"""Who may lead, and who is wanted most: by the settings, or by a policy of the user's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from django.utils.module_loading import import_string

from django_river.exceptions import ConfigError
from django_river.leader_options import LeaderElectionConfig
from django_river.storage.base import ClientInfo

logger = logging.getLogger(__name__)


class LeaderPolicy(Protocol):
    """Says of this process's own client whether it may lead, and how much it is wanted to.

    Named by ``LEADER_ELECTION["POLICY"]`` and made without arguments, once per client. Both methods are asked at each
    heartbeat, so the answers may change while the client runs; they should be quick, and not use the database.

        class OfficeHours:
            def objection(self, client: ClientInfo) -> str:
                return "" if 8 <= datetime.now().hour < 18 else "it is not office hours"

            def preference(self, client: ClientInfo) -> int:
                return int(client.labels.get("rank", 0))
    """

    def objection(self, client: ClientInfo) -> str:
        """Why this client must not lead, in words for people; empty if it may. A leader that must not resigns."""
        ...

    def preference(self, client: ClientInfo) -> int:
        """How much this client is wanted as leader: a leader yields to a living candidate with a higher number."""
        ...


class SettingsPolicy:
    """The policy of the settings: ``CANDIDATE``, ``REQUIRE`` and ``PREFERENCE``."""

    def __init__(self, config: LeaderElectionConfig) -> None:
        self.config = config

    def objection(self, client: ClientInfo) -> str:
        if not self.config.candidate:
            return "LEADER_ELECTION['CANDIDATE'] is False"
        missing = _without(self.config.require, client.labels)
        return f"its labels lack {missing}" if missing else ""

    def preference(self, client: ClientInfo) -> int:
        return self.config.preference


class Candidacy:
    """Whether one client stands, by its policy. A policy that fails is an objection."""

    def __init__(self, policy: LeaderPolicy, *, forbidden: Callable[[], str] = lambda: "") -> None:
        self.policy = policy
        #: Asked before the policy: an objection that it cannot lift.
        self.forbidden = forbidden

        #: Written by :meth:`present`, read by the elector. Until asked, nobody stands.
        self.objection = "it has not been asked yet"
        self.preference = 0

    def present(self, client: ClientInfo) -> ClientInfo:
        """Ask the policy; the client as it presents itself now."""
        self.objection, self.preference = self._ask(client)
        return replace(client, objection=self.objection, preference=self.preference)

    def _ask(self, client: ClientInfo) -> tuple[str, int]:
        if objection := self.forbidden():
            return objection, 0
        try:
            objection, preference = self.policy.objection(client), int(self.policy.preference(client))
        except Exception as error:
            name = type(self.policy).__name__
            if not self.objection.startswith(name):
                logger.exception("%s cannot say whether client %s may lead: it may not", name, client.id)
            return f"{name} failed: {error}", 0
        return str(objection or ""), preference


def load_policy(config: LeaderElectionConfig) -> LeaderPolicy:
    """The policy that the settings name.

    Raises :class:`ConfigError` if it cannot be imported or made, or lacks one of its two methods.
    """
    if config.policy is None:
        return SettingsPolicy(config)
    try:
        policy: LeaderPolicy = import_string(config.policy)()
    except Exception as error:
        raise ConfigError(f"policy {config.policy!r} cannot be made: {error}") from error
    for method in ("objection", "preference"):
        if not callable(getattr(policy, method, None)):
            raise ConfigError(f"policy {config.policy!r} has no method {method!r}")
    return policy


def _without(required: Mapping[str, str], labels: Mapping[str, str]) -> str:
    missing = [f"{name}={value}" for name, value in sorted(required.items()) if labels.get(name) != value]
    return ", ".join(missing)
