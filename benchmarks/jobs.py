"""The job that is measured: it does nothing."""

from django_river import job


@job()
def noop(number: int) -> None:
    """Do nothing."""


@job()
async def noop_async(number: int) -> None:
    """Do nothing, on the event loop."""
