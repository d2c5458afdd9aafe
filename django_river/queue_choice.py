"""Which queues a process works: those of the settings, narrowed by names and patterns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from django_river.conf import Config
from django_river.exceptions import ConfigError
from django_river.names import queue_problem
from django_river.queue_options import QueueConfig, is_pattern, matches


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of all queues a process works: those that are named, or match, and are not left out."""

    only: Collection[str] = ()
    exclude: Collection[str] = ()

    def takes(self, name: str) -> bool:
        """Whether it works a queue, if its labels allow it."""
        return (not self.only or matches(name, self.only)) and not matches(name, self.exclude)


def chosen_queues(
    config: Config,
    *,
    only: Collection[str] = (),
    exclude: Collection[str] = (),
    added: Callable[[], Collection[str]] = tuple,
) -> dict[str, QueueConfig]:
    """The queues of the settings, narrowed by names and patterns.

    Raises :class:`ConfigError` for a name that is neither there nor among those that were ``added``.
    """
    known = dict(config.queues)
    names = {name for name in (*only, *exclude) if not is_pattern(name)}
    if config.dynamic_queues:
        known |= {name: config.queue(name) for name in only if name not in known and not queue_problem(name)}
    unknown = {name for name in names - set(known) if not config.queue_layers.has_pattern_for(name)}
    unknown = unknown.difference(added()) if unknown else unknown
    if unknown:
        raise ConfigError(
            f"unknown queue {', '.join(map(repr, sorted(unknown)))}; "
            f"the settings name {', '.join(sorted(config.queue_names))}"
        )
    choice = Choice(only, exclude)
    return {name: options for name, options in known.items() if choice.takes(name)}
