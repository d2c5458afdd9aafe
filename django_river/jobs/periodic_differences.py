"""How two registries of periodic jobs differ, entry by entry and field by field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What an entry means by leaving a field out.
DEFAULTS: Mapping[str, Any] = {
    "on_missed": "skip",
    "max_catch_up": 100,
    "overlap": True,
    "run_on_start": False,
    "enabled": True,
}
_ORDER = ("job", "cron", "every", "timezone", "args", "queue", "priority")


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs: its JSON value in each, ``None`` where it has none."""

    field: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{self.field}: here {_shown(self.ours)}, there {_shown(self.theirs)}"


@dataclass(frozen=True, slots=True)
class Differences:
    """What only we have, what only they have, and what both have differently."""

    added: Sequence[Mapping[str, Any]]
    missing: Sequence[Mapping[str, Any]]
    changed: Mapping[str, Sequence[Change]]

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.changed)

    def lines(self) -> list[str]:
        """One line per entry, in the order of their names."""
        said = {entry["name"]: f"+ {entry['name']}: only here: {_summary(entry)}" for entry in self.added}
        said |= {entry["name"]: f"- {entry['name']}: only there: {_summary(entry)}" for entry in self.missing}
        said |= {name: f"~ {name}: {'; '.join(map(str, changes))}" for name, changes in self.changed.items()}
        return [said[name] for name in sorted(said)]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "added": [dict(entry) for entry in self.added],
            "missing": [dict(entry) for entry in self.missing],
            "changed": {
                name: {change.field: {"ours": change.ours, "theirs": change.theirs} for change in changes}
                for name, changes in self.changed.items()
            },
        }


def differences(ours: Iterable[Mapping[str, Any]], theirs: Iterable[Mapping[str, Any]]) -> Differences:
    """Compare the entries of two registries, as they stand in canonical JSON."""
    here = {entry["name"]: entry for entry in ours}
    there = {entry["name"]: entry for entry in theirs}
    changed = {name: _changes(here[name], there[name]) for name in sorted(here.keys() & there.keys())}
    return Differences(
        added=[here[name] for name in sorted(here.keys() - there.keys())],
        missing=[there[name] for name in sorted(there.keys() - here.keys())],
        changed={name: changes for name, changes in changed.items() if changes},
    )


def _changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Change]:
    fields = [*_ORDER, *sorted((ours.keys() | theirs.keys()) - {"name", *_ORDER})]
    changes = [Change(field, _value(ours, field), _value(theirs, field)) for field in fields]
    # As they are written: to Python, true is 1 and 1 is 1.0.
    return [change for change in changes if _shown(change.ours) != _shown(change.theirs)]


def _value(entry: Mapping[str, Any], field: str) -> Any:
    return entry.get(field, DEFAULTS.get(field))


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _summary(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{field} {_shown(entry[field])}" for field in _ORDER if field in entry)
