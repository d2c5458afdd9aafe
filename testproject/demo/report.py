"""The demo's summary, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from demo.catalogue import Catalogue
from demo.figures import Run, digest_snoozes, document_figures, failing_jobs
from demo.mailbox import Mail
from library.models import Document


def print_summary(console: Console, run: Run, received: Sequence[Mail], catalogue: Catalogue) -> None:
    """Everything counted from the database, but for the e-mails, which are counted where they arrived."""
    console.print(_figures(run, received, catalogue))
    console.print(_failures())
    for subject, recipients in _recipients(received).items():
        console.print(
            f"E-mail: “{subject}”, received by {recipients} recipients", soft_wrap=True, highlight=False
        )


def _recipients(received: Sequence[Mail]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for mail in received:
        counts[mail.subject] += len(mail.recipients)
    return counts


def _figures(run: Run, received: Sequence[Mail], catalogue: Catalogue) -> Table:
    table = Table(title="The Gazette", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for name, figure in document_figures().items():
        table.add_row(name, f"{figure:,}")
    table.add_section()
    for state, figure in run.jobs_by_state().items():
        table.add_row(f"jobs of this run, {state}", f"{figure:,}")
    table.add_row("jobs per second", f"{run.jobs_per_second():,.0f}")
    table.add_section()
    table.add_row("times the digest waited for documents", f"{digest_snoozes():,}")
    table.add_row("e-mails sent", f"{run.deliveries():,}")
    table.add_row("e-mails received", f"{len(received):,}")
    table.add_section()
    table.add_row("documents announced", f"{len(catalogue.titles):,}")
    table.add_row("calls of the catalogue", f"{catalogue.calls:,}")
    return table


def _failures() -> Table:
    table = Table(title="Could not be read", title_justify="left")
    for column in ("document", "job", "attempt", "error", "next attempt"):
        table.add_column(column, overflow="fold")
    jobs = failing_jobs()
    names = Document.objects.in_bulk([job.args["document_id"] for job in jobs])
    for job in jobs:
        document = names.get(job.args["document_id"])
        table.add_row(
            document.name if document else "deleted",
            f"#{job.pk} {job.state}",
            f"{job.attempt} of {job.max_attempts}",
            job.errors[-1]["error"],
            "none" if job.finalized_at else f"{job.scheduled_at:%H:%M:%S} UTC",
        )
    return table
