"""One call for many jobs: what runs in a slot, and how it becomes an outcome for each of them.

A member is an attempt like any other: it can be cancelled, given back, given up, and is settled once, by whoever comes
first. The call holds the slot, the thread and the timeout.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError, transaction

from django_river import storage
from django_river.exceptions import JobCancel, JobDiscard, JobInterrupted, JobSnooze
from django_river.jobs.batch import Batch, BatchItem, JobBatch
from django_river.jobs.context import CancelReason
from django_river.jobs.definition import Definition
from django_river.signals import job_started
from django_river.storage.base import ClaimedJob, JobSetState, StoredState
from django_river.work import connections, outcomes
from django_river.work.attempts import Attempt
from django_river.work.outcomes import INTERRUPTED, SUCCESS, Outcome

if TYPE_CHECKING:
    from django_river.work.executor import Executor
    from django_river.work.isolation import Deadlines
    from django_river.work.producer import Producer

logger = logging.getLogger(__name__)

#: What becomes of an attempt, and of its row.
Result = tuple[Attempt, Outcome, JobSetState]
#: Takes results that have been stored already, and what was stored.
TellStored = Callable[[Sequence[Result], Sequence[StoredState]], None]

#: Reasons to stop that hold for all members as soon as they hold for one.
_OF_THE_CALL = frozenset({CancelReason.SHUTDOWN, CancelReason.STUCK})
#: What says nothing about single jobs: the function's own word for all of them, or a database that is away.
_OF_ALL = (JobSnooze, JobCancel, JobDiscard, JobInterrupted, OperationalError, InterfaceError)


class Member(Attempt):
    """An attempt that is worked in a call together with others."""

    __slots__ = ("call", "key")

    def __init__(self, job: ClaimedJob, producer: Producer) -> None:
        super().__init__(job, producer)
        self.call: BatchCall | None = None
        #: What ``by`` says of it.
        self.key: Hashable = None

    def cancel(self, reason: CancelReason) -> None:
        """Ask this job to stop: it is marked, and the others go on, unless what is wrong concerns the whole call."""
        super().cancel(reason)
        if reason in _OF_THE_CALL and self.call is not None:
            self.call.cancel(reason)


class MemberItem(BatchItem[Any]):
    """An item, as its function sees it, and its attempt."""

    __slots__ = ("member",)

    def __init__(
        self, args: Any, member: Member, *, on_settled: Callable[[BatchItem[Any]], None] | None = None
    ) -> None:
        assert member.context is not None
        super().__init__(args, member.context, on_settled=on_settled)
        self.member = member


class ResultsRefused(Exception):
    """Somebody else has changed a member's row: what its call did must not be committed."""


class BatchCall(Attempt):
    """What runs in one slot for all its members."""

    __slots__ = ("key", "members")

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__(members[0].job, members[0].producer)
        self.members = members
        self.key = members[0].key
        for member in members:
            member.call = self

    def cancel(self, reason: CancelReason) -> None:
        """Ask the whole call to stop."""
        super().cancel(reason)
        for member in self.members:
            if member.context is not None:
                member.context.cancel(reason)


class BatchExecutor:
    """Runs calls, and settles their members. Never raises."""

    def __init__(self, executor: Executor, *, tell_stored: TellStored) -> None:
        self.executor = executor
        self.tell_stored = tell_stored

    def execute(self, call: BatchCall) -> bool:
        """Run a call in this thread; false if its slot has been given to somebody else meanwhile."""
        call.thread = threading.current_thread()
        prepared = self._prepare(call)
        if prepared is None:
            return call.take()
        definition, waiting = prepared
        work = self._work_and_store if _options(definition).complete_in_transaction else self._work
        while waiting:
            batch = waiting.pop()
            try:
                # A copy, as for a single job: what it sets in context variables must not meet the next one.
                contextvars.copy_context().run(work, definition, batch)
            except BaseException as error:
                self.executor.end_if_forked()
                # An error of the database can leave the connection unusable for the halves.
                connections.tidy()
                waiting += self._after(error, definition, batch)
            else:
                self.executor.end_if_forked()
        return call.take()

    async def aexecute(self, call: BatchCall) -> bool:
        """Run a call in this task; false if its slot has been given to somebody else meanwhile."""
        call.task = asyncio.current_task()
        prepared = self._prepare(call)
        if prepared is None:
            return call.take()
        definition, waiting = prepared
        while waiting:
            batch = waiting.pop()
            try:
                batch.raise_if_cancelled()
                await definition.function(batch)
            except BaseException as error:
                waiting += self._after(error, definition, batch)
                await self.executor.tidy_after(error)
            else:
                self._succeed(definition, batch)
        return call.take()

    def _prepare(self, call: BatchCall) -> tuple[Definition[..., Any], list[JobBatch[Any]]] | None:
        """What to work; ``None`` if no member can run. Those that cannot are settled here."""
        definition = self.executor.registry.get(call.job.kind)
        assert definition is not None
        deadlines = self.executor.deadlines(definition, call)
        context = self.executor.begin(call, deadlines)
        items = [self._item(call, member, definition, deadlines) for member in call.members]
        runnable = [item for item in items if item is not None]
        return (definition, [JobBatch(runnable, context=context, key=call.key)]) if runnable else None

    def _item(
        self, call: BatchCall, member: Member, definition: Definition[..., Any], deadlines: Deadlines
    ) -> MemberItem | None:
        if member.is_settled:
            return None
        member.thread = call.thread
        self.executor.begin(member, deadlines)
        if member.cancel_reason is not None or call.cancel_reason is not None:
            # It was to stop before it began. If it was cancelled its row says so, and is not made available.
            self._settle(member, INTERRUPTED)
            return None
        if job_started.receivers:
            self.executor.announce(member)
        try:
            args = definition.item(**definition.arguments.decode(member.job.args))
        except BaseException as error:
            # The class is the user's: whatever it raises, the others of its call are worked.
            self._settle(member, outcomes.failed(error, member.job, definition, trace=""))
            return None
        if _options(definition).complete_in_transaction:
            return MemberItem(args, member)
        return MemberItem(args, member, on_settled=lambda item: self._settle_item(definition, item))

    def _work(self, definition: Definition[..., Any], batch: JobBatch[Any]) -> None:
        batch.raise_if_cancelled()
        definition.function(batch)
        self._succeed(definition, batch)

    def _work_and_store(self, definition: Definition[..., Any], batch: JobBatch[Any]) -> None:
        """All or nothing: what the function writes, and what becomes of its jobs."""
        using = self.executor.config.database
        committed: list[bool] = []
        batch.raise_if_cancelled()
        try:
            with transaction.atomic(using=using, durable=True):
                # The first of all that is called then: what the others raise comes too late to change anything.
                transaction.on_commit(lambda: committed.append(True), using=using)
                definition.function(batch)
                results, stored = self._store(definition, batch)
        except BaseException:
            if not committed:
                raise
            logger.exception("a batch of %s is committed; what it has asked for then failed", definition.kind)
        self.tell_stored(results, stored)

    def _store(
        self, definition: Definition[..., Any], batch: JobBatch[Any]
    ) -> tuple[list[Result], list[StoredState]]:
        results = [self._result(definition, item) for item in batch]
        stored = storage.for_caller(self.executor.config.database).job_set_state_many(
            self.executor.client_id, [change for _, _, change in results]
        )
        if len(stored) < len(results):
            raise ResultsRefused(f"{len(results) - len(stored)} of {len(results)} jobs are others' by now")
        return results, stored

    def _succeed(self, definition: Definition[..., Any], batch: JobBatch[Any]) -> None:
        for item in batch.unsettled:
            self._settle_item(definition, item)

    def _settle_item(self, definition: Definition[..., Any], item: BatchItem[Any]) -> None:
        assert isinstance(item, MemberItem)
        self._settle(item.member, self._outcome(definition, item))

    def _after(
        self, error: BaseException, definition: Definition[..., Any], batch: JobBatch[Any]
    ) -> list[JobBatch[Any]]:
        """What to try again after the function has raised, last part first; what is not tried again is settled."""
        options = _options(definition)
        if options.complete_in_transaction:
            self._roll_back(definition, batch)
        left = [item for item in batch.unsettled if isinstance(item, MemberItem)]
        is_about_one = isinstance(error, Exception) and not isinstance(error, (*_OF_ALL, ResultsRefused))
        if options.isolate_on_error and is_about_one and len(left) > 1 and not batch.cancelled:
            middle = len(left) // 2
            halves = [left[middle:], left[:middle]]
            return [JobBatch(half, context=batch.context, key=batch.key) for half in halves]
        for item in left:
            self._settle(item.member, self._raised(error, item.member, definition))
        return []

    def _raised(self, error: BaseException, member: Member, definition: Definition[..., Any]) -> Outcome:
        if isinstance(error, ResultsRefused):
            # What has become of the others is no fault of this one; those refused are refused once more.
            logger.warning(
                "job %d (%s): its batch was rolled back: %s", member.job.id, member.job.kind, error
            )
            return INTERRUPTED
        assert member.context is not None
        return self.executor.raised(error, member, definition, member.context)

    def _roll_back(self, definition: Definition[..., Any], batch: JobBatch[Any]) -> None:
        """Success was rolled back with its transaction; what the function said about others still holds."""
        for item in batch:
            item.reopen()
            if item.is_settled:
                self._settle_item(definition, item)

    def _result(self, definition: Definition[..., Any], item: BatchItem[Any]) -> Result:
        assert isinstance(item, MemberItem)
        outcome = self._outcome(definition, item)
        return item.member, outcome, outcome.change(item.member.job, item.job.remains)

    def _outcome(self, definition: Definition[..., Any], item: MemberItem) -> Outcome:
        """What an item's end is, said or not."""
        if item.error is not None:
            return outcomes.raised(item.error, item.member.job, definition, None)
        if item.is_left_out:
            reason = item.job.cancel_reason
            return self.executor.raised(
                JobInterrupted(reason and reason.value), item.member, definition, item.job
            )
        return SUCCESS

    def _settle(self, member: Member, outcome: Outcome) -> None:
        self.executor.settle(member, outcome)


def _options(definition: Definition[..., Any]) -> Batch:
    assert definition.options.batch is not None
    return definition.options.batch
