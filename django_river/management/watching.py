"""A table of queues that is drawn anew every second; needs rich."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from django.core.management.base import CommandError

from django_river.queue_report import QueueReport

SECONDS = 1.0
#: Of a terminal, what the table needs beside its rows: head and borders, and a line below.
FRAME_LINES = 6
COLUMNS = (
    "queue", "state", "available", "oldest", "running", "slots", "scheduled", "retryable", "/s", "failed",
    "wait p50", "p95", "run p50", "p95",
)  # fmt: skip


def watch(look: Callable[[], Sequence[QueueReport]], *, rounds: int | None = None) -> None:
    """Show what ``look`` answers until Ctrl-C, or so many times."""
    try:
        from rich.console import Console  # noqa: PLC0415  (an optional dependency)
        from rich.live import Live  # noqa: PLC0415
        from rich.table import Column, Table  # noqa: PLC0415
    except ImportError:
        raise CommandError("--watch needs the package rich: pip install rich.") from None

    console = Console()

    def table() -> Table:
        drawn = Table(*(Column(name, no_wrap=name == COLUMNS[0]) for name in COLUMNS))
        queues = look()
        shown = busiest(queues, console.height - FRAME_LINES)
        for queue in shown:
            drawn.add_row(*cells(queue))
        if len(shown) < len(queues):
            drawn.caption = f"… and {len(queues) - len(shown)} that have less to do"
        return drawn

    never = threading.Event()
    try:
        with Live(table(), console=console, auto_refresh=False) as live:
            done = 1
            while rounds is None or done < rounds:
                never.wait(SECONDS)
                live.update(table(), refresh=True)
                done += 1
    except KeyboardInterrupt:
        return


def busiest(queues: Sequence[QueueReport], count: int) -> list[QueueReport]:
    """So many of them at most, and at least one: if not all, those that have most to do; in the order given."""
    if len(queues) <= count:
        return list(queues)
    work = {queue.name: (queue.available + queue.running, queue.per_second) for queue in queues}
    chosen = sorted(work, key=lambda name: work[name], reverse=True)[: max(1, count)]
    return [queue for queue in queues if queue.name in set(chosen)]


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
