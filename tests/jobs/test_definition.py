"""``@job`` makes a function a job, and says at once what cannot be."""

from __future__ import annotations

import functools
import inspect
from datetime import timedelta

import pytest

from django_river import JobFunction, Unique, job
from django_river.exceptions import DefinitionError
from django_river.jobs.definition import Definition, JobOptions, default_kind
from django_river.jobs.registry import Registry, registry


def define(function, *, kind=None, aliases=(), **options) -> Definition:
    return Definition(function, kind=kind, aliases=aliases, options=JobOptions(**options))


def send(order_id: int) -> int:
    """Send it."""
    return order_id * 2


async def send_async() -> None: ...


@pytest.fixture
def forgotten():
    """Forget the jobs that a test defines for everybody."""
    before = list(registry)
    yield
    for definition in list(registry):
        if definition not in before:
            registry.discard(definition)


class TestFunction:
    def test_can_still_be_called(self):
        assert define(send)(21) == 42

    def test_is_still_itself(self):
        definition = define(send)

        assert (definition.__name__, definition.__doc__, definition.__module__) == (
            "send",
            "Send it.",
            __name__,
        )
        assert inspect.signature(definition) == inspect.signature(send)
        assert repr(definition) == "<Definition tests.test_definition.send>"

    def test_may_be_async(self):
        assert define(send_async).is_async
        assert not define(send).is_async

    @pytest.mark.parametrize(
        "thing",
        [5, "send", None, int, functools.partial(send, 1), define(send), Registry],
        ids=lambda thing: type(thing).__name__,
    )
    def test_is_needed(self, thing):
        with pytest.raises(DefinitionError, match="@job must stand at a function, got "):
            define(thing)

    def test_may_not_be_a_generator(self):
        def pages():
            yield 1

        async def pages_async():
            yield 1

        for function in (pages, pages_async):
            with pytest.raises(DefinitionError, match="a generator function cannot be a job"):
                define(function)

    def test_is_named_when_its_kind_cannot_be(self):
        with pytest.raises(DefinitionError, match=rf"^{__name__}.send: kind must be .* got 'a b'$"):
            define(send, kind="a b")
        with pytest.raises(DefinitionError, match="got ''"):
            define(send, kind="")
        with pytest.raises(DefinitionError, match="got 'a,b'"):
            define(send, aliases=["old", "a,b"])
        with pytest.raises(TypeError, match=r"^aliases must be a list of kinds, got 'old'$"):
            define(send, aliases="old")


class TestKind:
    @pytest.mark.parametrize(
        ("module", "name", "kind"),
        [
            ("shop.jobs", "send", "shop.send"),
            ("site.apps.shop.jobs", "send", "shop.send"),
            ("shop.jobs.mail", "send", "shop.mail.send"),
            ("jobs", "send", "send"),
            ("shop.views", "send", "shop.views.send"),
            ("shop.jobs", "Mailer.send", "shop.Mailer.send"),
            ("shop.jobs", "make.<locals>.send", "shop.make.send"),
        ],
    )
    def test_is_the_short_form_of_the_path(self, module, name, kind):
        def function(): ...

        function.__module__, function.__qualname__ = module, name

        assert default_kind(function) == define(function).kind == kind


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"queue": "No Queue"}, "^queue must be lower-case letters"),
            ({"priority": 0}, r"^priority must be an int from 1 \(first\) to 4 \(last\), got 0$"),
            ({"priority": True}, "^priority must be"),
            ({"priority": "1"}, "^priority must be"),
            ({"max_attempts": 0}, "^max_attempts must be an int from 1 to 32767, got 0$"),
            ({"max_attempts": 32768}, "^max_attempts must be an int"),
            ({"tags": ("a b",)}, "^a tag must be"),
            ({"timeout": 0}, "^timeout must be a timedelta or seconds above 0, got 0$"),
            ({"timeout": timedelta(-1)}, "^timeout must be"),
            ({"timeout": float("nan")}, "^timeout must be"),
            ({"timeout": float("inf")}, "^timeout must be"),
            ({"timeout": "5"}, "^timeout must be"),
            ({"timeout": True}, "^timeout must be"),
        ],
        ids=str,
    )
    def test_out_of_range_are_refused(self, options, why):
        with pytest.raises(ValueError, match=why):
            define(send, **options)

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"tags": "urgent"}, r"^tags must be a list of texts, got 'urgent'$"),
            ({"retry": 5}, r"^retry must be callable, got 5$"),
            ({"unique": True}, r"^unique must be a Unique, got True$"),
        ],
        ids=str,
    )
    def test_of_another_type_are_refused(self, options, why):
        with pytest.raises(TypeError, match=why):
            define(send, **options)

    @pytest.mark.parametrize("timeout", [1, 0.5, timedelta(seconds=1)])
    def test_take_spans_in_both_forms(self, timeout):
        assert define(send, timeout=timeout).options.timeout == timeout

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"soft_timeout": 0}, r"^soft_timeout must be a timedelta or seconds above 0, got 0$"),
            ({"soft_timeout": 5, "timeout": 5}, r"^soft_timeout must be shorter than timeout \(5\), got 5$"),
            ({"isolation": "thread"}, r"^isolation must be 'process' or None, got 'thread'$"),
            ({"interrupt": 1}, r"^interrupt must be a bool, got 1$"),
        ],
        ids=str,
    )
    def test_about_stopping_are_checked(self, options, why):
        with pytest.raises((ValueError, TypeError), match=why):
            define(send, **options)

    def test_interrupt_is_for_sync_jobs(self):
        with pytest.raises(
            DefinitionError, match=r"interrupt is for sync jobs; async ones are cancelled anyway$"
        ):
            define(send_async, interrupt=True)

    def test_an_isolated_coroutine_does_not_belong_on_the_loop(self):
        assert define(send_async).is_on_loop
        assert not define(send_async, isolation="process").is_on_loop

    def test_by_args_must_be_arguments(self):
        with pytest.raises(
            DefinitionError, match=r"unique by_args must name its arguments \(order_id\), got 'order'$"
        ):
            _ = define(send, unique=Unique(by_args=["order"])).arguments
        assert define(send, unique=Unique(by_args=["order_id.deeper"])).arguments.fields == ("order_id",)


class TestDecorator:
    def test_goes_with_and_without_parentheses(self, forgotten):
        assert isinstance(job(send), JobFunction)
        assert isinstance(job()(send), JobFunction)

    def test_registers_under_every_name(self, forgotten):
        function = job(kind="tests.new", aliases=["tests.old"])(send)

        assert registry.get("tests.new") is registry.get("tests.old") is function

    def test_takes_tags_from_any_iterable(self, forgotten):
        assert job(tags=(tag for tag in "ab"))(send).options.tags == ("a", "b")

    def test_refuses_a_kind_that_another_function_has(self, forgotten):
        job(kind="tests.same")(send)

        with pytest.raises(
            DefinitionError, match=r"^kind 'tests.same' is defined twice, by .*\.send and by .*\.send_async;"
        ):
            job(kind="tests.same")(send_async)


class TestRegistry:
    def test_knows_kinds_and_aliases(self):
        known = Registry()
        definition = define(send, kind="b", aliases=["a"])
        known.add(definition)

        assert known.get("a") is known.get("b") is definition
        assert known.get("c") is None
        assert known.kinds == ["a", "b"]
        assert list(known) == [definition]

    def test_takes_the_same_function_again(self):
        known = Registry()
        known.add(define(send, kind="a"))
        again = define(send, kind="a")
        known.add(again)

        assert known.get("a") is again

    def test_adds_nothing_when_a_name_is_taken(self):
        known = Registry()
        known.add(define(send, kind="a"))

        with pytest.raises(DefinitionError, match="kind 'a' is defined twice"):
            known.add(define(send_async, kind="b", aliases=["a"]))
        assert known.kinds == ["a"]

    def test_forgets_what_is_still_its_own(self):
        known = Registry()
        first, second = define(send, kind="a", aliases=["old"]), define(send, kind="a")
        known.add(first)
        known.add(second)

        known.discard(first)

        assert known.kinds == ["a"]
        assert known.get("a") is second
