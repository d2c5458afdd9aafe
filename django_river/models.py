"""The tables: columns, constraints and read querysets. Nothing here writes a state: see ``operations``.

On Postgres the tables of River itself are River's, to the letter; the migration creates or adopts them.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Length
from django.db.models.lookups import GreaterThan, LessThan
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_river.fields import BitMaskField, JSONArrayField, StateField, TagsField, TextArrayField
from django_river.jobs.beats import Heartbeat
from django_river.jobs.states import FINAL, OPEN, State


class JobQuerySet(models.QuerySet["Job"]):
    """Ways to read jobs. To change them, use :mod:`django_river.operations`."""

    def in_state(self, *states: State) -> JobQuerySet:
        """Jobs in any of these states."""
        return self.filter(state__in=[State(state).value for state in states])

    def open(self) -> JobQuerySet:
        """Jobs that are not over."""
        return self.in_state(*sorted(OPEN))

    def final(self) -> JobQuerySet:
        """Jobs that are over: completed, cancelled or discarded."""
        return self.in_state(*sorted(FINAL))

    def of_kind(self, kind: str) -> JobQuerySet:
        """Jobs of one kind."""
        return self.filter(kind=kind)


class Job(models.Model):
    """A job, as every River client sees it."""

    id = models.BigAutoField(primary_key=True)
    state = StateField(default=State.AVAILABLE.value)
    attempt = models.SmallIntegerField(default=0)
    max_attempts = models.SmallIntegerField(default=25)
    attempted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finalized_at = models.DateTimeField(null=True, blank=True)
    scheduled_at = models.DateTimeField(default=timezone.now)
    priority = models.SmallIntegerField(default=1)
    args = models.JSONField()
    attempted_by = TextArrayField(null=True, blank=True)
    errors = JSONArrayField(null=True, blank=True)
    kind = models.TextField()
    metadata = models.JSONField(default=dict)
    queue = models.TextField(default="default")
    tags = TagsField(default=list, blank=True)
    unique_key = models.BinaryField(null=True, blank=True)
    unique_states = BitMaskField(null=True, blank=True)

    #: Set by ``enqueue``: this is the job that was there already, and nothing was inserted.
    skipped_as_duplicate: bool = False

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = "river_job"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        permissions = [
            ("retry_job", _("Can retry jobs")),
            ("cancel_job", _("Can cancel jobs")),
        ]
        constraints = [
            models.CheckConstraint(
                name="finalized_or_finalized_at_null",
                condition=(
                    Q(finalized_at__isnull=True) & ~Q(state__in=["cancelled", "completed", "discarded"])
                    | Q(finalized_at__isnull=False) & Q(state__in=["cancelled", "completed", "discarded"])
                ),
            ),
            models.CheckConstraint(name="max_attempts_is_positive", condition=Q(max_attempts__gt=0)),
            models.CheckConstraint(name="priority_in_range", condition=Q(priority__gte=1, priority__lte=4)),
            models.CheckConstraint(
                name="queue_length",
                condition=Q(GreaterThan(Length(F("queue")), 0)) & Q(LessThan(Length(F("queue")), 128)),
            ),
            models.CheckConstraint(
                name="kind_length",
                condition=Q(GreaterThan(Length(F("kind")), 0)) & Q(LessThan(Length(F("kind")), 128)),
            ),
        ]
        constraints += [
            # On Postgres the condition is River's function; the migration takes care of that.
            models.UniqueConstraint(
                fields=["unique_key"],
                name="river_job_unique_idx",
                condition=Q(unique_key__isnull=False, unique_states__isnull=False)
                & Q(
                    GreaterThan(
                        F("unique_states").bitand(
                            # The stubs know of integers only.
                            Case(*(When(state=state.value, then=Value(state.bit)) for state in State))  # type: ignore[arg-type]
                        ),
                        0,
                    )
                ),
            ),
        ]
        indexes = [
            models.Index(
                "queue", "priority", "scheduled_at", "id",
                name="django_river_job_fetch_idx",
                condition=Q(state="available"),
            ),
            models.Index(
                "scheduled_at", "id",
                name="django_river_job_due_idx",
                condition=Q(state__in=["retryable", "scheduled"]),
            ),
            models.Index("id", name="django_river_job_running_idx", condition=Q(state="running")),
            models.Index(
                "state", "id",
                name="django_river_job_failed_idx",
                condition=Q(state__in=["cancelled", "discarded"]),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"

    @property
    def heartbeat(self) -> Heartbeat | None:
        """What its present or last attempt has said of itself; ``None`` if it has said nothing."""
        said = Heartbeat.of(self.metadata)
        return said if said is not None and said.attempt in {None, self.attempt} else None

    @property
    def progress(self) -> float | None:
        """How far it is, from 0.0 to 1.0, if it says so."""
        said = self.heartbeat
        return None if said is None else said.progress

    @property
    def last_error(self) -> dict[str, Any] | None:
        """The newest entry of ``errors``: ``at``, ``attempt``, ``error`` and ``trace``; ``None`` without any."""
        return self.errors[-1] if self.errors else None


class Queue(models.Model):
    """A queue that some client has worked."""

    name = models.TextField(primary_key=True)
    created_at = models.DateTimeField(default=timezone.now)
    metadata = models.JSONField(default=dict)
    paused_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "river_queue"
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        permissions = [("pause_queue", _("Can pause and resume queues"))]

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        """Whether clients leave this queue alone."""
        return self.paused_at is not None


class QueueRow(models.Model):
    """What is said of a queue at run time: see :mod:`django_river.queues`."""

    name = models.TextField(primary_key=True)
    #: What was given, by the settings' names in lower case; the rest is inherited.
    settings = models.JSONField(default=dict)
    #: How it is being removed: see :class:`django_river.storage.queues.Removal`; empty if it is not.
    removal = models.TextField(blank=True, default="", db_default="")
    moved_to = models.TextField(blank=True, default="", db_default="")
    #: When its last job was gone.
    removed_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("settings of a queue")
        verbose_name_plural = _("settings of queues")

    def __str__(self) -> str:
        return self.name


class QueueResume(models.Model):
    """When a paused queue is to be resumed."""

    name = models.TextField(primary_key=True)
    resume_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class QueueStarts(models.Model):
    """When how many jobs of a queue with a rate limit began: pairs of a moment, in seconds, and a number."""

    name = models.TextField(primary_key=True)
    starts = models.JSONField(default=list)

    class Meta:
        verbose_name_plural = "queue starts"

    def __str__(self) -> str:
        return self.name


class QueueMinute(models.Model):
    """What one client saw of a queue in one minute."""

    minute = models.DateTimeField()
    queue = models.TextField()
    client_id = models.TextField()
    completed = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    #: How many jobs waited, and ran, for how long: numbers by :func:`django_river.histogram.place`.
    waits = models.JSONField(default=dict)
    runs = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["minute", "queue", "client_id"], name="django_river_minute")
        ]

    def __str__(self) -> str:
        return f"{self.queue} at {self.minute}"


class Leader(models.Model):
    """The client that runs maintenance, if any: one row."""

    name = models.TextField(primary_key=True, default="default")
    elected_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    leader_id = models.TextField()

    class Meta:
        db_table = "river_leader"
        verbose_name = _("leader")
        verbose_name_plural = _("leader")
        permissions = [("resign_leader", _("Can ask the leader to resign"))]
        constraints = [
            models.CheckConstraint(name="name_length", condition=Q(name="default")),
            models.CheckConstraint(
                name="leader_id_length",
                condition=Q(GreaterThan(Length(F("leader_id")), 0))
                & Q(LessThan(Length(F("leader_id")), 128)),
            ),
        ]

    def __str__(self) -> str:
        return self.leader_id


class LeaderTerm(models.Model):
    """A client's time as leader. Foreign River clients leave none."""

    client_id = models.TextField()
    host = models.TextField(blank=True)
    pid = models.BigIntegerField(null=True, blank=True)
    labels = models.JSONField(default=dict)
    elected_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    #: Why it ended: see :class:`django_river.terms.TermEnd`.
    why = models.TextField(blank=True)
    resign_requested_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("term")
        verbose_name_plural = _("terms")
        constraints = [models.UniqueConstraint(fields=["client_id", "elected_at"], name="django_river_term")]

    def __str__(self) -> str:
        return self.client_id


class Client(models.Model):
    """A running client of this package, with its heartbeat."""

    id = models.TextField(primary_key=True)
    host = models.TextField()
    pid = models.BigIntegerField()
    version = models.TextField()
    queues = models.JSONField(default=list)
    #: What it has applied, by queue: ``slots`` it gives to it, and the ``version`` of the row that it goes by.
    applied = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    slots = models.PositiveIntegerField()
    #: Whether it stands for election; if not, ``objection`` says why.
    can_lead = models.BooleanField(default=True)
    objection = models.TextField(blank=True, default="", db_default="")
    #: A leader yields to a living candidate with a higher one.
    preference = models.IntegerField(default=0, db_default=0)
    labels = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    #: The key of the advisory lock that its session holds, if others may go by that.
    session = models.BigIntegerField(null=True, blank=True)
    #: Its parts that fail: name → what is to be said of it.
    troubles = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    release = models.TextField(default="", db_default="", blank=True)
    #: Which periodic jobs it declares: the ``hash`` of a :class:`PeriodicRegistry`.
    registry_hash = models.TextField(default="", db_default="", blank=True)
    #: When it was taken for lost, and why: see :class:`django_river.faults.Fault`. It may come back.
    lost_at = models.DateTimeField(null=True, blank=True)
    lost_why = models.TextField(blank=True, default="", db_default="")
    started_at = models.DateTimeField(default=timezone.now)
    heartbeat_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("client")
        verbose_name_plural = _("clients")

    def __str__(self) -> str:
        return self.id


class PeriodicRegistry(models.Model):
    """All periodic jobs that some client declares, as one text; the one in force is enqueued by the leader."""

    hash = models.TextField(primary_key=True)
    #: Canonical JSON, whose SHA-256 is the hash. Text: jsonb would write numbers in another way.
    entries = models.TextField()
    #: True for the one in force, null for the others: so no two can be.
    is_in_force = models.BooleanField(null=True, unique=True)
    release = models.TextField(default="", blank=True)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("periodic registry")
        verbose_name_plural = _("periodic registries")

    def __str__(self) -> str:
        return self.hash


class PeriodicJob(models.Model):
    """An entry of the registry in force: when it runs next, and how it went."""

    name = models.TextField(primary_key=True)
    kind = models.TextField()
    #: When it runs, in words.
    schedule = models.TextField()
    #: The entry as canonical JSON, and its SHA-256: a leader enqueues only what it declares in the very same way.
    entry = models.TextField()
    fingerprint = models.TextField()
    #: Null: never.
    next_run_at = models.DateTimeField(null=True, blank=True)
    #: A run asked for besides the schedule.
    extra_run_at = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_job_id = models.BigIntegerField(null=True, blank=True)
    #: The state in which the last run that is over has ended.
    last_outcome = models.TextField(default="", blank=True)
    last_finished_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    #: Why it could not be enqueued, until it can.
    error = models.TextField(default="", blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    #: In seconds; null: nobody minds.
    expect_success_within = models.FloatField(null=True, blank=True)
    #: Since when it could have succeeded: it was made, or resumed.
    expected_since = models.DateTimeField(default=timezone.now)
    overdue_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("periodic job")
        verbose_name_plural = _("periodic jobs")
        permissions = [
            ("pause_periodicjob", _("Can pause and resume periodic jobs")),
            ("run_periodicjob", _("Can run periodic jobs now")),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        """Whether it waits to be resumed."""
        return self.paused_at is not None


class FaultCount(models.Model):
    """How often something went wrong with jobs of a kind on one day (UTC)."""

    kind = models.TextField()
    #: See :class:`django_river.faults.Fault`.
    what = models.TextField()
    day = models.DateField()
    count = models.BigIntegerField()

    class Meta:
        db_table = "django_river_fault"
        verbose_name = _("fault")
        verbose_name_plural = _("faults")
        constraints = [
            models.UniqueConstraint(fields=["kind", "what", "day"], name="django_river_fault_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class RunTime(models.Model):
    """How long one attempt took: a bounded sample for each kind."""

    kind = models.TextField()
    at = models.DateTimeField()
    seconds = models.FloatField()
    #: Whether it had not ended by then, but was taken for suspicious.
    was_cut_off = models.BooleanField(default=False, db_default=False)

    class Meta:
        db_table = "django_river_runtime"
        verbose_name = _("run time")
        verbose_name_plural = _("run times")
        indexes = [models.Index(fields=["kind", "at"], name="django_river_runtime_idx")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.seconds:.3f} s"
