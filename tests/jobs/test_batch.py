"""Batch options, items and definitions; batch functions called with plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

import msgspec
import pytest

from django_river import Batch, BatchFunction, BatchItem, JobBatch, JobCancel, JobContext, JobSnooze
from django_river.exceptions import ArgumentTypeError, ArgumentValueError, DefinitionError, JobInterrupted
from django_river.jobs.beats import Beat
from django_river.jobs.context import CancelReason
from django_river.jobs.definition import Definition, JobOptions


@dataclass
class Word:
    word: str
    document: int = 0
    tags: list[str] = field(default_factory=lambda: ["new"])


class Pair(NamedTuple):
    left: int
    right: int = 2


class Plain:
    def __init__(self, number: int) -> None:
        self.number = number


def many(batch: JobBatch[Word]) -> None:
    """A batch function."""


def defined(function=many, *, item=None, **batch):
    return Definition(function, kind="words", options=JobOptions(batch=Batch(**batch), item=item))


class TestOptions:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"size": 0}, "size must be an int from 1 to 10000, got 0"),
            ({"size": -1}, "size must be an int from 1 to 10000, got -1"),
            ({"size": True}, "size must be an int from 1 to 10000, got True"),
            ({"size": 10_001}, "size must be an int from 1 to 10000, got 10001"),
            ({"wait": -1}, "wait must be a timedelta or seconds from 0 to 3600, got -1"),
            ({"wait": timedelta(seconds=-1)}, "wait must be a timedelta or seconds from 0 to 3600, got "),
            ({"wait": float("nan")}, "wait must be a timedelta or seconds from 0 to 3600, got nan"),
            ({"wait": "1"}, "wait must be a timedelta or seconds from 0 to 3600, got '1'"),
            ({"by": 7}, "by must be an argument's name or a function, got 7"),
            ({"max_concurrent": 0}, "max_concurrent must be an int from 1, or None, got 0"),
            ({"isolate_on_error": 1}, "isolate_on_error must be a bool, got 1"),
            ({"complete_in_transaction": None}, "complete_in_transaction must be a bool, got None"),
        ],
    )
    def test_that_cannot_be_are_refused(self, given, message):
        with pytest.raises((ValueError, TypeError)) as caught:
            Batch(**given)

        assert str(caught.value).startswith(message)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"batch": 100}, "batch must be a Batch, got 100"),
            ({"batch": Batch(), "item": 7}, "item must be a class, got 7"),
            ({"item": Word}, "item must stand beside batch, got "),
        ],
    )
    def test_of_the_job_are_checked(self, given, message):
        with pytest.raises((ValueError, TypeError)) as caught:
            JobOptions(**given)

        assert str(caught.value).startswith(message)

    def test_wait_may_be_a_timedelta(self):
        assert Batch(wait=timedelta(milliseconds=150)).wait_seconds == 0.15
        assert Batch(wait=0).wait_seconds == 0


class TestKey:
    def test_is_nothing_an_argument_or_what_a_function_says(self):
        word = Word("river", 7)

        assert Batch().key(word) is None
        assert Batch(by="document").key(word) == 7
        assert Batch(by=lambda args: args.word[0]).key(word) == "r"

    def test_must_be_hashable(self):
        with pytest.raises(TypeError, match=r"by must give something hashable, got \['new'\]"):
            Batch(by="tags").key(Word("river"))


class TestDefinition:
    @pytest.mark.parametrize(
        ("function", "taken"),
        [
            (lambda: None, "nothing"),
            (lambda batch, more: None, "batch, more"),
            (lambda *batch: None, r"\*batch"),
            (lambda **batch: None, r"\*\*batch"),
        ],
    )
    def test_takes_the_batch_and_nothing_else(self, function, taken):
        with pytest.raises(DefinitionError, match=rf"takes the batch and nothing else, not {taken}$"):
            defined(function)

    @pytest.mark.parametrize(
        "hint", [None, JobBatch, "JobBatch[NotThere]", "JobBatch[int | None]", list[int]]
    )
    def test_says_what_an_item_is(self, hint):
        def function(batch):
            pass

        if hint is not None:
            function.__annotations__["batch"] = hint
        with pytest.raises(DefinitionError):
            defined(function).arguments  # noqa: B018

    def test_names_an_argument_that_there_is(self):
        message = r"^words: by must name an argument \(word, document, tags\), got 'tenant'$"
        with pytest.raises(DefinitionError, match=message):
            defined(by="tenant").arguments  # noqa: B018

    def test_has_no_transaction_if_it_is_async(self):
        async def many_async(batch: JobBatch[Word]) -> None:
            pass

        with pytest.raises(DefinitionError, match="complete_in_transaction needs a sync function"):
            defined(many_async, complete_in_transaction=True)

    @pytest.mark.parametrize("given", [{"isolation": "process"}, {"interrupt": True}])
    def test_cannot_be_stopped_by_force(self, given):
        def many(batch: JobBatch[Word]) -> None:
            pass

        with pytest.raises(
            DefinitionError, match="isolation and interrupt are for single jobs, not for batches"
        ):
            Definition(many, kind="words", options=JobOptions(batch=Batch(), **given))


class TestArguments:
    def test_are_those_of_a_single_job(self):
        def single(word: str, document: int = 0, tags: list[str] = ["new"]) -> None:  # noqa: B006
            pass

        alone = Definition(single, kind="words", options=JobOptions()).arguments
        together = defined().arguments

        raw = together.encode(("river",), {"document": 7}, limit=1000)
        assert raw == alone.encode(("river",), {"document": 7}, limit=1000)
        assert alone.decode(raw) == together.decode(raw) == {"word": "river", "document": 7, "tags": ["new"]}

    def test_are_checked_when_enqueued(self):
        with pytest.raises(ArgumentTypeError, match="words: argument 'document': expected int, got str"):
            defined().arguments.encode(("river",), {"document": "7"}, limit=1000)
        with pytest.raises(ArgumentTypeError, match="missing argument word; it takes word, document, tags"):
            defined().arguments.encode((), {}, limit=1000)
        with pytest.raises(ArgumentValueError):
            defined().arguments.encode(("\0",), {}, limit=1000)

    def test_defaults_of_factories_are_made_anew(self):
        values = [defined().arguments.decode(b'{"word": "river"}') for _ in range(2)]

        assert values[0] == values[1]
        assert values[0]["tags"] is not values[1]["tags"]

    @pytest.mark.parametrize(
        ("item", "expected"),
        [
            (Word, Word("1")),
            (Pair, Pair(1)),
            (msgspec.defstruct("Struct", [("number", int)]), None),
            (Plain, None),
        ],
        ids=["dataclass", "named tuple", "struct", "class"],
    )
    def test_may_be_those_of_any_class(self, item, expected):
        definition = defined(lambda batch: None, item=item)
        raw = definition.arguments.encode(("1" if item is Word else 1,), {}, limit=1000)
        made = definition.item(**definition.arguments.decode(raw))

        assert isinstance(made, item)
        assert expected is None or made == expected


class TestItem:
    @pytest.fixture
    def item(self):
        return BatchItem(Word("river"), JobContext(id=7))

    def test_is_settled_once(self, item):
        item.succeed(output={"a": 1})

        assert (item.is_settled, item.error, item.job.output) == (True, None, b'{"a":1}')
        for verb in (item.succeed, item.cancel, lambda: item.fail(ValueError()), lambda: item.snooze(1)):
            with pytest.raises(RuntimeError, match="item 7 is settled already"):
                verb()

    def test_keeps_what_it_failed_with(self, item):
        error = LookupError("gone")
        item.fail(error)

        assert item.error is error

    def test_fails_with_an_exception_only(self, item):
        with pytest.raises(TypeError, match="fail takes an exception, got 'gone'"):
            item.fail("gone")
        assert not item.is_settled

    def test_snoozes_and_cancels(self, item):
        item.snooze(5)
        other = BatchItem(None, JobContext(id=8))
        other.cancel("not wanted")

        assert isinstance(item.error, JobSnooze)
        assert item.error.after == timedelta(seconds=5)
        assert isinstance(other.error, JobCancel)
        assert str(other.error) == "not wanted"

    def test_refuses_what_cannot_be_stored_and_stays_open(self, item):
        with pytest.raises(ArgumentTypeError):
            item.succeed(output=object())
        with pytest.raises(ValueError, match="after must not be negative"):
            item.snooze(-1)

        assert not item.is_settled

    def test_is_left_out_when_its_mark_was_seen(self, item):
        item.job.cancel(CancelReason.CANCEL)
        assert not item.is_left_out

        assert item.cancelled
        assert item.is_left_out


class TestBatchOfPlainValues:
    def test_is_made_by_calling_the_function(self):
        seen = []
        function = BatchFunction(seen.append, kind="words", options=JobOptions(batch=Batch(), item=Word))
        function([Word("river"), Word("bank")])

        (batch,) = seen
        assert batch.args == [Word("river"), Word("bank")]
        assert [item.job.id for item in batch] == [1, 2]
        assert (len(batch), len(batch[:1]), batch[1].args.word) == (2, 1, "bank")
        assert repr(batch[0]) == "<BatchItem 1 Word(word='river', document=0, tags=['new'])>"

    def test_shows_what_became_of_its_items(self):
        batch = JobBatch.of([1, 2, 3], key="k")
        batch[0].fail(ValueError("x"))
        batch.heartbeat()

        assert [item.args for item in batch.unsettled] == [2, 3]
        assert (batch.key, batch.cancelled, batch.cancel_reason) == ("k", False, None)
        assert repr(batch) == "<JobBatch of 3>"

    def test_can_be_told_to_stop(self):
        batch = JobBatch.of([1])
        batch.context.cancel(CancelReason.SHUTDOWN)

        assert batch.cancelled
        with pytest.raises(JobInterrupted, match="shutdown"):
            batch.raise_if_cancelled()

    def test_beats_for_all(self):
        batch = JobBatch.of([1, 2])
        before = [item.job.heartbeat_at for item in batch]
        batch.heartbeat()

        assert all(item.job.heartbeat_at >= at for item, at in zip(batch, before, strict=True))
        assert batch[0].job.heartbeat_at > 0

    def test_says_how_far_it_is_for_all(self):
        batch = JobBatch.of([1, 2])
        batch.heartbeat(0.5, "half of it")

        assert {item.job.beat for item in batch} == {batch.context.beat} == {Beat(0.5, "half of it")}
