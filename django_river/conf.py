"""``DJANGO_RIVER``: read here only, once, into one frozen :class:`Config` that is passed down."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import time
from functools import lru_cache
from importlib import metadata
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.signals import setting_changed

from django_river.exceptions import ConfigError
from django_river.leader_options import LeaderElectionConfig, election_problems
from django_river.long_job_options import (
    ADAPTIVE_OPTIONS,
    ISOLATION_OPTIONS,
    AdaptiveConfig,
    IsolationConfig,
    adaptive,
    heartbeats,
    is_heartbeats,
    isolation,
)
from django_river.names import queue_pattern_problem
from django_river.option import Option, Problem, option_problems
from django_river.option import is_bool as _is_bool
from django_river.option import is_int as _is_int
from django_river.option import is_labels as _is_labels
from django_river.option import is_retention as _is_retention
from django_river.option import is_seconds as _is_seconds
from django_river.option import optional as _optional
from django_river.option import seconds as _seconds
from django_river.queue_options import (
    MAX_WORKERS_LIMIT,
    QUEUE_OPTIONS,
    QueueConfig,
    QueueLayers,
    conflict,
    is_pattern,
    read,
)

SETTING = "DJANGO_RIVER"
TASK_BACKEND = "django_river.tasks.RiverBackend"
#: Where a build may say which release it is, for projects whose settings do not.
RELEASE_VARIABLE = "DJANGO_RIVER_RELEASE"
REFUSE, FOLLOW = "refuse", "follow"
#: Slots of a client, unless ``CONCURRENCY`` or one queue's ``MAX_WORKERS`` says more.
DEFAULT_SLOTS = 100
DAY = 86_400


def _is_time_of_day(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value) is not None


OPTIONS = (
    Option(
        "DATABASE", "default", "a database alias", lambda v: isinstance(v, str),
        "Alias of the database that holds the job tables.",
    ),
    Option(
        "QUEUES", {"default": {}}, "a dict of queue name to a dict of queue options", lambda v: isinstance(v, Mapping),
        "The queues that `runworkers` works, and that may be enqueued to; a pattern such as `tenant-*` means all that "
        "match.",
    ),
    Option(
        "QUEUE_DEFAULTS", {}, "a dict of queue options", lambda v: isinstance(v, Mapping),
        "What holds for every queue that says nothing else.",
    ),
    Option(
        "DYNAMIC_QUEUES", False, "a bool", _is_bool,
        "Whether jobs may be enqueued into queues that nobody has named or added; `runworkers --queues` may name them "
        "too.",
    ),
    Option(
        "CONCURRENCY", None, "an int from 1 to 10000, or None", _optional(_is_int(1, MAX_WORKERS_LIMIT)),
        "Jobs one process works at once, over all its queues. By default the sum of `MAX_WORKERS`, but at most "
        "100 or the largest queue's `MAX_WORKERS`.",
    ),
    Option(
        "MAX_ATTEMPTS", 25, "an int from 1 to 32767", _is_int(1, 32767),
        "Attempts a job has unless it says otherwise.",
    ),
    Option(
        "JOB_TIMEOUT", None, "seconds or a timedelta above 0, or None", _optional(_is_seconds),
        "How long an attempt may take unless the job says otherwise; None is for ever.",
    ),
    Option(
        "STUCK_AFTER", 10, "seconds or a timedelta above 0", _is_seconds,
        "How long past its timeout an attempt that does not stop is waited for before its slot is replaced.",
    ),
    Option(
        "MAX_ARGS_BYTES", 1_048_576, "an int from 2", _is_int(2),
        "Largest size of a job's arguments as JSON; also of its metadata, and of an output it records.",
    ),
    Option(
        "POLL_INTERVAL", None, "seconds or a timedelta above 0, or None", _optional(_is_seconds),
        "How often an idle worker looks for jobs unasked. By default 1 s on Postgres and 0.2 s on SQLite.",
    ),
    Option(
        "NOTIFY", True, "a bool", _is_bool,
        "Whether to use LISTEN/NOTIFY on Postgres. Without it, workers poll.",
    ),
    Option(
        "STOP_TIMEOUT", 30, "seconds or a timedelta, 0 or more", lambda v: _is_seconds(v, zero=True),
        "How long running jobs may go on after SIGTERM before they are asked to stop.",
    ),
    Option(
        "CANCEL_TIMEOUT", 5, "seconds or a timedelta, 0 or more", lambda v: _is_seconds(v, zero=True),
        "How long jobs that were asked to stop are waited for before their attempt is given back.",
    ),
    Option(
        "HEARTBEAT_INTERVAL", 5, "seconds or a timedelta above 0", _is_seconds,
        "How often a client says that it lives.",
    ),
    Option(
        "CLIENT_TIMEOUT", 60, "seconds or a timedelta above 0", _is_seconds,
        "How old a client's heartbeat may be before the client no longer counts as alive.",
    ),
    Option(
        "RESCUE_AFTER", 3600, "seconds or a timedelta above 0", _is_seconds,
        "How long a job may be running without a living client before it is taken for lost and made to retry.",
    ),
    Option(
        "LEADER_TTL", 15, "seconds or a timedelta from 3", lambda v: _is_seconds(v) and _seconds(v) >= 3,
        "How long a leader's lease holds; it is renewed three times as often.",
    ),
    Option(
        "LEADER_ELECTION", {}, "a dict of options of the election", lambda v: isinstance(v, Mapping),
        "Who may lead, and who is preferred.",
    ),
    Option(
        "LABELS", {}, "a dict of str to str", _is_labels,
        "What is to be said of this process, such as its zone; shown with its client, and asked for by `REQUIRE`.",
    ),
    Option(
        "COMPLETED_RETENTION", DAY, "seconds or a timedelta, 0 or more, or -1", _is_retention,
        "How long completed jobs are kept before they are deleted; -1 keeps them for ever.",
    ),
    Option(
        "CANCELLED_RETENTION", DAY, "seconds or a timedelta, 0 or more, or -1", _is_retention,
        "How long cancelled jobs are kept.",
    ),
    Option(
        "DISCARDED_RETENTION", 7 * DAY, "seconds or a timedelta, 0 or more, or -1", _is_retention,
        "How long discarded jobs are kept.",
    ),
    Option(
        "REINDEX_AT", None, "a time of day as 'HH:MM', or None", _optional(_is_time_of_day),
        "When to build the indexes of the job table anew each day, in UTC; None never does. Postgres only.",
    ),
    Option(
        "PERIODIC", [], "a list of dicts", lambda v: isinstance(v, list | tuple),
        "Periodic jobs besides those of `@periodic`: schedules for jobs of other apps.",
    ),
    Option(
        "RELEASE", None, "a text, or None", _optional(lambda v: isinstance(v, str)),
        "Which release of the project this is: a newer one takes the periodic jobs over. By default what the "
        "environment variable `DJANGO_RIVER_RELEASE` says, or the project's installed version.",
    ),
    Option(
        "ON_MISMATCH", REFUSE, "'refuse' or 'follow'", lambda v: v in (REFUSE, FOLLOW),
        "What a worker does whose periodic jobs are not those in force, and whose release is not newer: refuse to "
        "start, or work jobs and never lead.",
    ),
    Option(
        "POISON_AFTER", 3, "an int from 1", _is_int(1),
        "A job that has been lost with so many clients is discarded: it may be what kills them.",
    ),
    Option(
        "HEARTBEATS", {}, "a dict of priority (1 to 4) or kind to seconds or a timedelta above 0", is_heartbeats,
        "How often jobs promise to give a sign of life: those of a kind, or those of a priority that promise it without "
        "saying how often.",
    ),
    Option(
        "PROGRESS_INTERVAL", 2, "seconds or a timedelta above 0", _is_seconds,
        "How often what running jobs say of themselves is stored.",
    ),
    Option(
        "ADAPTIVE_RESCUE", {}, "a dict of options", lambda v: isinstance(v, Mapping),
        "When a job that promises no heartbeats runs so much longer than its kind that it is suspicious, and what then.",
    ),
    Option(
        "ISOLATION", {}, "a dict of options of isolated jobs", lambda v: isinstance(v, Mapping),
        "How many processes run isolated jobs, and how much memory each may use.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings, checked. Spans are in seconds; a retention of :data:`KEEP` is for ever."""

    database: str = "default"
    queues: Mapping[str, QueueConfig] = field(default_factory=lambda: {"default": QueueConfig()})
    queue_defaults: Mapping[str, Any] = field(default_factory=dict)
    dynamic_queues: bool = False
    concurrency: int | None = None
    max_attempts: int = 25
    job_timeout: float | None = None
    stuck_after: float = 10.0
    max_args_bytes: int = 1_048_576
    poll_interval: float | None = None
    notify: bool = True
    stop_timeout: float = 30.0
    cancel_timeout: float = 5.0
    heartbeat_interval: float = 5.0
    client_timeout: float = 60.0
    rescue_after: float = 3600.0
    leader_ttl: float = 15.0
    leader_election: LeaderElectionConfig = field(default_factory=LeaderElectionConfig)
    labels: Mapping[str, str] = field(default_factory=dict)
    completed_retention: float = float(DAY)
    cancelled_retention: float = float(DAY)
    discarded_retention: float = 7.0 * DAY
    reindex_at: time | None = None
    #: The items of ``PERIODIC`` as they were given; ``jobs.periodic`` reads them.
    periodic: Sequence[object] = ()
    #: Empty if nobody says.
    release: str = ""
    on_mismatch: str = REFUSE
    poison_after: int = 3
    heartbeats: Mapping[int | str, float] = field(default_factory=dict)
    progress_interval: float = 2.0
    adaptive_rescue: AdaptiveConfig = field(default_factory=AdaptiveConfig)
    isolation: IsolationConfig = field(default_factory=IsolationConfig)

    #: ``QUEUES`` and ``QUEUE_DEFAULTS`` as they stand; ``queues`` is what they come to for the names among them.
    queue_layers: QueueLayers = field(default_factory=QueueLayers, compare=False)

    @property
    def queue_names(self) -> set[str]:
        """The names and patterns in ``QUEUES``."""
        return {*self.queues, *self.queue_layers.patterns}

    def queue(self, name: str, row: Mapping[str, Any] | None = None) -> QueueConfig:
        """What holds for a queue, by the settings and its row."""
        own = self.queues.get(name)
        if own is None:
            return self.queue_layers.effective(name, row).config
        return replace(own, **row) if row else own

    def max_attempts_of(self, queue: str) -> int:
        """Attempts that jobs of a queue have unless they, or its row, say otherwise."""
        own = self.queues.get(queue)
        if own is None and self.queue_layers.entries:
            own = self.queue(queue)
        return (own.max_attempts if own is not None else None) or self.max_attempts

    @property
    def slots(self) -> int:
        """How many jobs a client of all queues works at once."""
        return self.slots_for(self.queues)

    def slots_for(self, queues: Mapping[str, QueueConfig]) -> int:
        """How many jobs a client of these queues works at once."""
        if self.concurrency is not None:
            return self.concurrency
        sizes = [queue.most_workers for queue in queues.values()]
        return min(sum(sizes), max(DEFAULT_SLOTS, *sizes)) if sizes else 1

    def retentions(
        self, state: str, queues: Mapping[str, QueueConfig] | None = None
    ) -> dict[str | None, float]:
        """How long jobs that ended in this state are kept: by queue, and as ``None`` in all others.

        ``queues`` are those that there are, as they stand; without them, those of the settings.
        """
        name = f"{state}_retention"
        general: float = getattr(self, name)
        others: float | None = self.queue_layers.defaults.get(name)
        found: dict[str | None, float] = {None: general if others is None else others}
        for queue, options in (self.queues if queues is None else queues).items():
            kept: float | None = getattr(options, name)
            kept = general if kept is None else kept
            if kept != found[None]:
                found[queue] = kept
        return found


_RETENTIONS = frozenset({"COMPLETED_RETENTION", "CANCELLED_RETENTION", "DISCARDED_RETENTION"})
_SECONDS = _RETENTIONS | {
    "JOB_TIMEOUT", "STUCK_AFTER", "POLL_INTERVAL", "STOP_TIMEOUT", "CANCEL_TIMEOUT",
    "HEARTBEAT_INTERVAL", "CLIENT_TIMEOUT", "RESCUE_AFTER", "LEADER_TTL",
    "MINIMUM_TERM", "PROGRESS_INTERVAL",
}  # fmt: skip


def of_django(name: str) -> Any:
    """A setting of Django's; ``settings`` itself takes long to say again what it has said before."""
    return _said[name] if name in _said else getattr(settings, name)


#: What ``settings`` has said; it forgets by itself what is said otherwise.
_said = vars(settings)


def raw_settings() -> object:
    """``DJANGO_RIVER`` as the project has it."""
    return getattr(settings, SETTING, {})


def has_task_backend() -> bool:
    """Whether ``TASKS``, a setting of Django 6.0 and newer, names our backend."""
    backends: Mapping[str, Mapping[str, Any]] = getattr(settings, "TASKS", {})
    return any(backend.get("BACKEND") == TASK_BACKEND for backend in backends.values())


def problems(raw: object) -> list[Problem]:
    """Find all that is wrong with a value of ``DJANGO_RIVER``."""
    if not isinstance(raw, Mapping):
        return [Problem("E001", f"{SETTING} must be a dict, not {raw!r}.", "Use {} for the defaults.")]
    found = list(option_problems(raw, OPTIONS, where=SETTING))
    queues = raw.get("QUEUES", {"default": {}})
    if isinstance(queues, Mapping):
        for name, options in queues.items():
            found += _queue_problems(name, options)
    defaults = raw.get("QUEUE_DEFAULTS", {})
    if isinstance(defaults, Mapping):
        found += option_problems(defaults, QUEUE_OPTIONS, where=f"{SETTING}['QUEUE_DEFAULTS']")
    election = raw.get("LEADER_ELECTION", {})
    if isinstance(election, Mapping):
        found += election_problems(election, where=f"{SETTING}['LEADER_ELECTION']")
    for name, options in (("ISOLATION", ISOLATION_OPTIONS), ("ADAPTIVE_RESCUE", ADAPTIVE_OPTIONS)):
        if isinstance(raw.get(name), Mapping):
            found += option_problems(raw[name], options, where=f"{SETTING}[{name!r}]")
    if found:
        return found
    return [*_combination_problems(raw), *_conflicts_of_queues(raw)]


@lru_cache(maxsize=1)
def config() -> Config:
    """The settings of this project, read once.

    Raises :class:`ConfigError` naming everything that is wrong.
    """
    raw: Any = raw_settings()
    found = problems(raw)
    if found:
        raise ConfigError("\n".join(f"{problem.text} {problem.hint}" for problem in found))
    values = _ready({option.name: raw.get(option.name, option.default) for option in OPTIONS})
    values["queue_defaults"] = read(values["queue_defaults"])
    layers = QueueLayers(
        values["queue_defaults"], {name: read(options) for name, options in values["queues"].items()}
    )
    values["queues"] = {
        name: layers.effective(name).config for name in layers.entries if not is_pattern(name)
    }
    values["leader_election"] = LeaderElectionConfig(**_ready(values["leader_election"]))
    values["periodic"] = tuple(values["periodic"])
    values["release"] = values["release"] or os.environ.get(RELEASE_VARIABLE) or _project_version()
    values["isolation"] = isolation(values["isolation"])
    values["adaptive_rescue"] = adaptive(values["adaptive_rescue"])
    values["heartbeats"] = heartbeats(values["heartbeats"])
    return Config(**values, queue_layers=layers)


def _ready(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the fields have them."""
    values = dict(given)
    for name in _SECONDS & values.keys():
        if values[name] is not None:
            values[name] = _seconds(values[name])
    if values.get("REINDEX_AT") is not None:
        values["REINDEX_AT"] = time.fromisoformat(values["REINDEX_AT"])
    return {name.lower(): value for name, value in values.items()}


def _project_version() -> str:
    """The version of the installed distribution that is named like the package of the settings."""
    package = os.environ.get(ENVIRONMENT_VARIABLE, "").partition(".")[0]
    try:
        return metadata.version(package) if package else ""
    except metadata.PackageNotFoundError:
        return ""


def _queue_problems(name: object, options: object) -> Iterator[Problem]:
    problem = queue_pattern_problem(name)
    if problem is not None:
        yield Problem("E004", f"{SETTING}['QUEUES'] has a bad name: {problem}.", "Rename the queue.")
    where = f"{SETTING}['QUEUES'][{name!r}]"
    if isinstance(options, Mapping):
        yield from option_problems(options, QUEUE_OPTIONS, where=where)
    else:
        yield Problem("E003", f"{where} must be a dict, not {options!r}.", "Use {} for the defaults.")


def _conflicts_of_queues(raw: Mapping[str, Any]) -> Iterator[Problem]:
    queues = raw.get("QUEUES", {"default": {}})
    layers = QueueLayers(
        read(raw.get("QUEUE_DEFAULTS", {})), {name: read(options) for name, options in queues.items()}
    )
    for name in queues:
        text = conflict(layers.effective(name).config)
        if text is not None:
            where = f"{SETTING}['QUEUES'][{name!r}]"
            yield Problem("E022", f"{where}: {text}.", "What QUEUE_DEFAULTS and patterns say counts too.")


def _combination_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    def value(name: str) -> float | None:
        given = raw.get(name, next(o.default for o in OPTIONS if o.name == name))
        return None if given is None else _seconds(given)

    if not raw.get("QUEUES", True) and not raw.get("DYNAMIC_QUEUES", False):
        yield Problem(
            "E005", f"{SETTING}['QUEUES'] is empty.", "Name a queue, or set DYNAMIC_QUEUES to True."
        )
    beat, alive = value("HEARTBEAT_INTERVAL") or 0, value("CLIENT_TIMEOUT") or 0
    if alive < 2 * beat:
        yield Problem(
            "E006",
            f"{SETTING}['CLIENT_TIMEOUT'] ({alive:g} s) must be at least twice "
            f"HEARTBEAT_INTERVAL ({beat:g} s).",
            "A client that misses one heartbeat would count as dead.",
        )
    timeout, rescue = value("JOB_TIMEOUT"), value("RESCUE_AFTER") or 0
    if timeout is not None and rescue <= timeout:
        yield Problem(
            "E006",
            f"{SETTING}['RESCUE_AFTER'] ({rescue:g} s) must be longer than JOB_TIMEOUT ({timeout:g} s).",
            "Jobs of other River clients would be rescued while they may still run.",
        )


def _forget(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        config.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_river.conf")
