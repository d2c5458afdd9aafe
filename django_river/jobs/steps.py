"""Steps of a resumable job: what is done is skipped by the next attempt. Pure.

River's keys: ``river:resumable_step`` names the last step that was done, ``river:resumable_cursor`` holds the cursors of
steps that were begun. So another attempt goes on, also on another client, in whatever language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from django_river.exceptions import StepError
from django_river.jobs.json import encode_json

STEP_KEY = "river:resumable_step"
CURSOR_KEY = "river:resumable_cursor"

#: Takes what is to stand in the job's metadata, as JSON by key.
Keep = Callable[[dict[str, bytes]], None]


class Step:
    """One step. To loop over it runs the block once, or not at all if a former attempt has done it.

    >>> for step in context.step("pages"):                                 # doctest: +SKIP
    ...     for page in pages_after(step.cursor):
    ...         store(page)
    ...         step.save(page.number)
    """

    def __init__(self, steps: Steps, name: str, *, is_done: bool) -> None:
        self.name = name
        #: Whether it was done by a former attempt, or by now.
        self.is_done = is_done

        self._steps = steps

    def __iter__(self) -> Iterator[Step]:
        if not self.is_done:
            yield self
            # Not reached if the block was left by an error, ``break`` or ``return``.
            self.done()

    @property
    def cursor(self) -> Any:
        """What was saved last, by this attempt or a former one; ``None`` at first."""
        return self._steps.cursors.get(self.name)

    def save(self, cursor: Any) -> None:
        """Remember how far this step has come: any JSON value. It is stored soon, and at the latest when the attempt ends.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` for what JSON cannot hold.
        """
        self._steps.save(self.name, cursor)

    def done(self) -> None:
        """Say that it is done: what the end of the block does by itself."""
        if not self.is_done:
            self.is_done = True
            self._steps.done(self.name)


class Steps:
    """The steps of one attempt, in the order in which they are asked for."""

    def __init__(self, metadata: Mapping[str, Any], *, keep: Keep, limit: int) -> None:
        self.keep = keep
        self.limit = limit

        last, cursors = metadata.get(STEP_KEY), metadata.get(CURSOR_KEY)
        self.cursors: dict[str, Any] = dict(cursors) if isinstance(cursors, Mapping) else {}
        self._encoded = {name: msgspec.json.encode(cursor) for name, cursor in self.cursors.items()}
        # All steps are skipped up to the one that was done last.
        self._last_done = last if isinstance(last, str) and last else None
        self._is_skipping = self._last_done is not None
        self._names: set[str] = set()

    def step(self, name: str) -> Step:
        """The next step. Raises :class:`StepError` for a name that this attempt has had."""
        if type(name) is not str or not name:
            raise StepError(f"a step must have a name, got {name!r}")
        if name in self._names:
            raise StepError(f"step {name!r} stands twice in this job")
        self._names.add(name)
        is_done = self._is_skipping
        if name == self._last_done:
            self._is_skipping = False
        return Step(self, name, is_done=is_done)

    def save(self, name: str, cursor: Any) -> None:
        """Keep a cursor, as the next attempt will find it: the value may change afterwards."""
        self._encoded[name] = encode_json(cursor, what=f"cursor of step {name!r}", limit=self.limit)
        self.cursors[name] = msgspec.json.decode(self._encoded[name])
        self.keep({CURSOR_KEY: self._all()})

    def done(self, name: str) -> None:
        """Keep that a step is done: its cursor is of no more use."""
        kept = {STEP_KEY: msgspec.json.encode(name)}
        if self._encoded.pop(name, None) is not None:
            del self.cursors[name]
            kept[CURSOR_KEY] = self._all()
        self.keep(kept)

    def finish(self) -> None:
        """The job has succeeded, so its steps are forgotten: who runs it once more wants all of it.

        Raises :class:`StepError` if all was skipped: the step that was done last has another name now.
        """
        if self._is_skipping:
            raise StepError(
                f"step {self._last_done!r}, the last one that was done, is no step of this job any more: "
                f"nothing was run"
            )
        self.keep({STEP_KEY: b"null", CURSOR_KEY: b"null"})

    def _all(self) -> bytes:
        """The cursors of all steps that were begun, as JSON."""
        raw = {name: msgspec.Raw(cursor) for name, cursor in self._encoded.items()}
        return msgspec.json.encode(raw or None)
