"""``@job``: a function stays a function, and learns to be enqueued."""

from __future__ import annotations

import inspect
from datetime import timedelta
from functools import lru_cache, partial

import pytest
from asgiref.sync import async_to_sync

from django_river import DefinitionError, JobContext, JobFunction, Unique, job
from django_river.jobs.registry import registry
from django_river.models import Job
from tests.shop.jobs import nothing


@pytest.fixture
def forget():
    """Forgets what is defined while the test runs."""
    before = {id(definition) for definition in registry}
    yield
    for definition in [known for known in registry if id(known) not in before]:
        registry.discard(definition)


pytestmark = pytest.mark.usefixtures("forget")


class TestCalling:
    def test_calls_the_function(self):
        @job
        def add(left: int, right: int = 2) -> int:
            """Add."""
            return left + right

        assert add(1) == 3
        assert add(left=1, right=1) == 2
        assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add.", __name__)
        assert str(inspect.signature(add)) == "(left: 'int', right: 'int' = 2) -> 'int'"

    def test_awaits_a_coroutine(self):
        @job
        async def double(number: int) -> int:
            return 2 * number

        assert double.is_async
        assert async_to_sync(double.function)(2) == 4
        coroutine = double(2)
        assert inspect.iscoroutine(coroutine)
        coroutine.close()

    def test_checks_nothing(self):
        @job
        def echo(anything: int) -> object:
            return anything

        assert echo("text") == "text"

    def test_enqueues_nothing(self, db):
        @job()
        def work() -> None: ...

        work()

        assert not Job.objects.exists()


class TestDecorating:
    def test_goes_without_parentheses(self, db):
        @job
        def work(number: int) -> None: ...

        assert isinstance(work, JobFunction)
        stored = work.enqueue(1)
        assert (stored.queue, stored.priority, stored.max_attempts, stored.tags) == ("default", 1, 25, [])

    def test_goes_with_empty_ones(self):
        @job()
        def work() -> None: ...

        assert registry.get(work.kind) is work

    def test_goes_over_other_decorators(self, db):
        @job
        @lru_cache
        def work(number: int) -> None: ...

        assert work.enqueue(1).args == {"number": 1}

    def test_takes_options(self):
        unique = Unique(by_queue=True)

        @job(
            queue="other", priority=4, max_attempts=1, timeout=timedelta(seconds=5), tags=["a"], unique=unique
        )
        def work() -> None: ...

        options = work.options
        assert (options.queue, options.priority, options.max_attempts) == ("other", 4, 1)
        assert (options.timeout, options.tags, options.unique) == (timedelta(seconds=5), ("a",), unique)

    def test_names_the_job_by_its_path(self, db):
        @job
        def work() -> None: ...

        assert work.enqueue().kind == f"{__name__}.{work.__qualname__.replace('.<locals>', '')}"

    def test_takes_a_name_and_older_ones(self, db):
        @job(kind="shop.new", aliases=["shop.old", "shop.older"])
        def work() -> None: ...

        assert work.enqueue().kind == "shop.new"
        assert registry.get("shop.old") is registry.get("shop.older") is registry.get("shop.new") is work

    def test_takes_the_context_out_of_the_arguments(self, db):
        @job
        def work(context: JobContext, number: int) -> None: ...

        assert work.enqueue(7).args == {"number": 7}

    def test_stores_defaults_with_the_job(self, db):
        @job
        def work(number: int, colour: str = "red", *, size: int = 3) -> None: ...

        assert work.enqueue(1, size=4).args == {"number": 1, "colour": "red", "size": 4}


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"queue": "Mail"}, ValueError, "queue must be lower-case"),
            ({"priority": 5}, ValueError, "priority must be an int from 1"),
            ({"max_attempts": "3"}, ValueError, "max_attempts must be an int"),
            ({"timeout": 0}, ValueError, "timeout must be a timedelta or seconds above 0, got 0"),
            ({"retry": 5}, TypeError, "retry must be callable, got 5"),
            ({"tags": "eu"}, TypeError, "tags must be a list of texts, got 'eu'"),
            ({"tags": ["a b"]}, ValueError, "a tag must be 1 to 255"),
            ({"unique": True}, TypeError, "unique must be a Unique, got True"),
            ({"kind": "a kind"}, DefinitionError, "kind must be 1 to 127"),
            ({"aliases": [""]}, DefinitionError, "kind must be 1 to 127"),
            ({"colour": "red"}, TypeError, "unexpected keyword argument 'colour'"),
        ],
        ids=str,
    )
    def test_is_refused_where_it_is_defined(self, options, error, message):
        with pytest.raises(error, match=message):

            @job(**options)
            def work() -> None: ...

    @pytest.mark.parametrize("thing", ["emails", 5, partial(print), Job, nothing], ids=str)
    def test_is_no_function(self, thing):
        with pytest.raises(DefinitionError) as caught:
            job(thing)

        assert str(caught.value) == f"@job must stand at a function, got {thing!r}"

    def test_is_one_name_for_two_functions(self):
        @job(kind="shop.same")
        def work() -> None: ...

        with pytest.raises(DefinitionError, match=r"kind 'shop\.same' is defined twice"):

            @job(kind="shop.same")
            def other() -> None: ...
