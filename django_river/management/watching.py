"""A table of queues that is drawn anew every second; needs rich."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from django.core.management.base import CommandError

from django_river.queue_report import QueueReport

SECONDS = 1.0
COLUMNS = (
    "queue", "state", "available", "oldest", "running", "slots", "scheduled", "retryable", "/s", "failed",
    "wait p50", "p95", "run p50", "p95",
)  # fmt: skip


def watch(look: Callable[[], Sequence[QueueReport]], *, rounds: int | None = None) -> None:
    """Show what ``look`` answers until Ctrl-C, or so many times."""
    try:
        from rich.live import Live  # noqa: PLC0415  (an optional dependency)
        from rich.table import Column, Table  # noqa: PLC0415
    except ImportError:
        raise CommandError("--watch needs the package rich: pip install rich.") from None

    def table() -> Table:
        drawn = Table(*(Column(name, no_wrap=name == COLUMNS[0]) for name in COLUMNS))
        for queue in look():
            drawn.add_row(*cells(queue))
        return drawn

    never = threading.Event()
    try:
        with Live(table(), auto_refresh=False) as live:
            done = 1
            while rounds is None or done < rounds:
                never.wait(SECONDS)
                live.update(table(), refresh=True)
                done += 1
    except KeyboardInterrupt:
        return


def cells(queue: QueueReport) -> list[str]:
    """A queue as text, a cell for each column."""
    return [
        queue.name,
        queue.state,
        f"{'' if queue.available_is_exact else '≥'}{queue.available}",
        _span(queue.oldest_seconds),
        str(queue.running),
        f"{sum(queue.slots.values())} on {len(queue.slots)}",
        f"{'' if queue.later_is_exact else '≥'}{queue.scheduled}",
        str(queue.retryable),
        f"{queue.per_second:.1f}",
        "" if queue.failure_rate is None else f"{100 * queue.failure_rate:.1f} %",
        _span(queue.waits.p50),
        _span(queue.waits.p95),
        _span(queue.runs.p50),
        _span(queue.runs.p95),
    ]


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
