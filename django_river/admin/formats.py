"""How values look on our pages. Everything that came from a row is escaped here or by the template."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from django.utils import dateformat, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_river.jobs.states import State

NOTHING = "—"
#: A page shows this much of one text: a recorded output may have a megabyte.
TEXT_LIMIT = 100_000

STATE_LABELS = {
    State.AVAILABLE: gettext_lazy("available"),
    State.CANCELLED: gettext_lazy("cancelled"),
    State.COMPLETED: gettext_lazy("completed"),
    State.DISCARDED: gettext_lazy("discarded"),
    State.PENDING: gettext_lazy("pending"),
    State.RETRYABLE: gettext_lazy("retryable"),
    State.RUNNING: gettext_lazy("running"),
    State.SCHEDULED: gettext_lazy("scheduled"),
}


def badge(look: str, label: object) -> SafeString:
    """A word with a coloured dot; ``look`` is one of the classes in ``admin.css``."""
    return format_html('<span class="river-badge river-{}">{}</span>', look, label)


def state_badge(state: str) -> SafeString:
    """A job's state."""
    return badge(state, STATE_LABELS.get(State(state), state) if state in set(State) else state)


def link(url: str, text: object) -> SafeString | str:
    """A link, or only its text without an address."""
    return format_html('<a href="{}">{}</a>', url, text) if url else format_html("{}", text)


def block(text: str) -> SafeString:
    """Text as it stands, line by line; only the beginning of what is very long."""
    if len(text) <= TEXT_LIMIT:
        return format_html('<pre class="river-text">{}</pre>', text)
    rest = _("… and %(count)d more characters") % {"count": len(text) - TEXT_LIMIT}
    return format_html(
        '<pre class="river-text">{}</pre><p class="river-quiet">{}</p>', text[:TEXT_LIMIT], rest
    )


def pretty_json(value: Any) -> SafeString:
    """A JSON value, indented."""
    return block(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def moment(value: datetime | None) -> SafeString | str:
    """A time of day to the second, in the current time zone: what happens in a queue happens within seconds."""
    if value is None:
        return NOTHING
    local = _local(value)
    text = dateformat.format(local, "Y-m-d H:i:s")
    return format_html('<time class="river-moment" datetime="{}">{}</time>', local.isoformat(), text)


def short_moment(value: datetime | None) -> SafeString | str:
    """A time for a narrow column: without the day if that is today, without the seconds if it is not."""
    if value is None:
        return NOTHING
    local = _local(value)
    is_today = local.date() == _local(timezone.now()).date()
    return format_html(
        '<time class="river-moment" datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        dateformat.format(local, "Y-m-d H:i:s"),
        dateformat.format(local, "H:i:s" if is_today else "Y-m-d H:i"),
    )


def parse_moment(text: object) -> datetime | None:
    """A time inside JSON, as Postgres, Go and we write it; ``None`` for anything else."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def span(value: timedelta | float | None) -> str:
    """A span in its two largest units: ``2 d 3 h``, ``4 min 5 s``, ``1.25 s``, ``80 ms``."""
    if value is None:
        return NOTHING
    seconds = max(0.0, value.total_seconds() if isinstance(value, timedelta) else value)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(index for index, (count, _name) in enumerate(units) if count)
    return " ".join(f"{count} {name}" for count, name in units[first : first + 2] if count)


def _local(value: datetime) -> datetime:
    return timezone.localtime(value) if timezone.is_aware(value) else value
