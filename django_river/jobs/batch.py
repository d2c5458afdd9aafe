"""Many jobs in one call: how they are gathered, and what the function is given. Pure; ``work/batches.py`` runs it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

from django_river.exceptions import JobCancel, JobSnooze
from django_river.jobs.context import CancelReason, JobContext

T = TypeVar("T")

MAX_SIZE = 10_000
MAX_WAIT = timedelta(hours=1)
_NOTHING: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How jobs of one kind are gathered to be worked by one call.

        @job(batch=Batch(size=100, wait=timedelta(milliseconds=200), by="tenant"))
        def index(batch: JobBatch[Word]) -> None: ...

    ``size``
        At most so many jobs in one call.
    ``wait``
        How long the first of them waits for others, a timedelta or seconds. 0 takes what is there.
    ``by``
        What the jobs of one call have in common: the name of an argument, or a function of an item's arguments. It is
        called where jobs are claimed, so it must be quick, and must not ask the database.
    ``max_concurrent``
        At most so many calls at once in one process; by default as many as its queue has workers.
    ``isolate_on_error``
        When the call raises, try the members again in halves, so that one that cannot succeed ends alone.
    ``complete_in_transaction``
        Run the call in a transaction of the jobs' database, and store the members' results in it: what it writes and
        what it says about its jobs are kept together or not at all. For ``def`` only.

    Raises :class:`ValueError` or :class:`TypeError` naming the option, the rule and the value.
    """

    size: int = 100
    wait: timedelta | float = 0.2
    by: str | Callable[[Any], Hashable] | None = None
    max_concurrent: int | None = None
    isolate_on_error: bool = False
    complete_in_transaction: bool = False

    def __post_init__(self) -> None:
        if not _is_count(self.size) or self.size > MAX_SIZE:
            raise ValueError(f"size must be an int from 1 to {MAX_SIZE}, got {self.size!r}")
        if not _is_wait(self.wait):
            raise ValueError(
                f"wait must be a timedelta or seconds from 0 to {MAX_WAIT.seconds}, got {self.wait!r}"
            )
        if self.by is not None and not (isinstance(self.by, str) or callable(self.by)):
            raise TypeError(f"by must be an argument's name or a function, got {self.by!r}")
        if self.max_concurrent is not None and not _is_count(self.max_concurrent):
            raise ValueError(f"max_concurrent must be an int from 1, or None, got {self.max_concurrent!r}")
        for name in ("isolate_on_error", "complete_in_transaction"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")

    @property
    def wait_seconds(self) -> float:
        """``wait`` in seconds."""
        return self.wait.total_seconds() if isinstance(self.wait, timedelta) else float(self.wait)

    def key(self, args: Any) -> Hashable:
        """What an item has in common with the others of its call.

        Raises whatever ``by`` raises, and :class:`TypeError` for what cannot be a key.
        """
        if self.by is None:
            return None
        key = getattr(args, self.by) if isinstance(self.by, str) else self.by(args)
        try:
            hash(key)
        except TypeError as error:
            raise TypeError(f"by must give something hashable, got {key!r}") from error
        return key


class BatchItem(Generic[T]):
    """One job of a batch. It is settled once, by the first of the four verbs, or by how the call ends.

    Settling is safe from any thread. What is settled stays so, whatever becomes of the rest; its result is stored
    while the call goes on, or with its transaction if there is one.
    """

    __slots__ = ("_error", "_is_settled", "_on_settled", "_saw_cancel", "args", "job")

    def __init__(
        self, args: T, job: JobContext, *, on_settled: Callable[[BatchItem[T]], None] | None = None
    ) -> None:
        #: The job's arguments: an object of the item's type.
        self.args = args
        #: The running job: its id, attempt, metadata.
        self.job = job

        self._on_settled = on_settled
        self._is_settled = False
        self._error: BaseException | None = None
        self._saw_cancel = False

    def succeed(self, *, output: Any = _NOTHING) -> None:
        """The job has succeeded; ``output``, a JSON value, is kept with it.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` for an output that JSON cannot hold, and
        :class:`RuntimeError` if the item is settled; so do the other verbs.
        """
        self._check_open()
        if output is not _NOTHING:
            self.job.record_output(output)
        self._settle(None)

    def fail(self, error: BaseException) -> None:
        """This attempt has failed: the job is tried again as its retry policy says.

        >>> item.fail(LookupError("no such tenant"))                       # doctest: +SKIP
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"fail takes an exception, got {error!r}")
        self._settle(error)

    def snooze(self, after: timedelta | float) -> None:
        """Run the job again later, in another call; this attempt does not count. ``after`` may be seconds."""
        self._settle(JobSnooze(after))

    def cancel(self, reason: str = "cancelled by the job") -> None:
        """End the job as ``cancelled``: it will not be retried."""
        self._settle(JobCancel(reason))

    @property
    def cancelled(self) -> bool:
        """Whether this job should stop: somebody cancelled it, or the whole call should stop.

        Who has seen that is taken to leave the item out: if nothing else is said about it, it does not succeed.
        """
        if self.job.cancelled:
            self._saw_cancel = True
        return self.job.cancelled

    @property
    def is_settled(self) -> bool:
        """Whether its end has been said."""
        return self._is_settled

    @property
    def error(self) -> BaseException | None:
        """What it has failed, snoozed or been cancelled with; ``None`` if it has succeeded or is not settled."""
        return self._error

    @property
    def is_left_out(self) -> bool:
        """Whether the function has seen that it is cancelled, and said nothing about it."""
        return self._saw_cancel and not self._is_settled

    def reopen(self) -> None:
        """Forget a success that has been rolled back."""
        if self._error is None:
            self._is_settled = False

    def __repr__(self) -> str:
        return f"<BatchItem {self.job.id} {self.args!r}>"

    def _check_open(self) -> None:
        if self._is_settled:
            raise RuntimeError(f"item {self.job.id} is settled already")

    def _settle(self, error: BaseException | None) -> None:
        self._check_open()
        self._error = error
        self._is_settled = True
        if self._on_settled is not None:
            self._on_settled(self)


class JobBatch(Sequence[BatchItem[T]]):
    """What a batch function is called with: its items, in the order in which they were claimed.

    >>> for item in batch:                                                 # doctest: +SKIP
    ...     item.args, item.job.id                                         # doctest: +SKIP

    In a test, make one of plain values, and look at its items afterwards:

    >>> batch = JobBatch.of([Word("river"), Word("bank")])                 # doctest: +SKIP
    >>> index(batch)                                                       # doctest: +SKIP
    >>> batch[0].error                                                     # doctest: +SKIP
    """

    __slots__ = ("_items", "context", "key")

    def __init__(self, items: Iterable[BatchItem[T]], *, context: JobContext, key: Hashable = None) -> None:
        self._items = tuple(items)
        #: The call as a whole: when it must stop.
        self.context = context
        #: What ``by`` says of all items.
        self.key = key

    @classmethod
    def of(cls, values: Iterable[T], *, key: Hashable = None) -> JobBatch[T]:
        """A batch of plain values, without jobs: their ids are counted from 1."""
        items = [BatchItem(value, JobContext(id=number)) for number, value in enumerate(values, start=1)]
        return cls(items, context=JobContext(id=0), key=key)

    @property
    def args(self) -> list[T]:
        """The arguments of all items."""
        return [item.args for item in self._items]

    @property
    def unsettled(self) -> list[BatchItem[T]]:
        """Items about which nothing has been said."""
        return [item for item in self._items if not item.is_settled]

    @property
    def cancelled(self) -> bool:
        """Whether the whole call should stop: its time is up, or the worker is stopping."""
        return self.context.cancelled

    @property
    def cancel_reason(self) -> CancelReason | None:
        """Why the whole call should stop, or ``None``."""
        return self.context.cancel_reason

    def raise_if_cancelled(self) -> None:
        """Raise :class:`JobInterrupted` if the whole call should stop."""
        self.context.raise_if_cancelled()

    def heartbeat(
        self, progress: float | None = None, note: str | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        """Say that the call is getting on, and how far, on behalf of all its jobs; see :meth:`JobContext.heartbeat`."""
        self.context.heartbeat(progress, note, data)
        for item in self._items:
            item.job.heartbeat(progress, note, data)

    @overload
    def __getitem__(self, index: int) -> BatchItem[T]: ...
    @overload
    def __getitem__(self, index: slice) -> JobBatch[T]: ...
    def __getitem__(self, index: int | slice) -> BatchItem[T] | JobBatch[T]:
        if isinstance(index, slice):
            return JobBatch(self._items[index], context=self.context, key=self.key)
        return self._items[index]

    def __iter__(self) -> Iterator[BatchItem[T]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<JobBatch of {len(self)}>"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_wait(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        return False
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return 0 <= seconds <= MAX_WAIT.total_seconds()
