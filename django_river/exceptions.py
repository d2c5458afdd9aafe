"""What can go wrong, and what a job may raise to say how it ended."""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured


class RiverError(Exception):
    """Base of every error of this package."""


class ArgumentTypeError(RiverError, TypeError):
    """A job was enqueued with an argument of the wrong type, one too many, or one missing."""


class ArgumentValueError(RiverError, ValueError):
    """A job was enqueued with an argument whose value cannot be accepted or stored."""


class ConfigError(RiverError, ImproperlyConfigured):
    """``DJANGO_RIVER`` cannot be used as it is."""


class DefinitionError(RiverError, TypeError):
    """``@job`` was applied to something that cannot be a job, or with options that cannot be."""


class MigrationError(RiverError):
    """River's tables exist already, at a version this package cannot adopt."""


class QueueClosed(RiverError, ValueError):
    """A job was enqueued into a queue that is being removed."""


class QueueExists(RiverError, ValueError):
    """A queue was added that is there already."""


class RegistryMismatch(RiverError):
    """This process declares other periodic jobs than those in force: its client must not start."""


class UnknownPeriodicJob(RiverError, LookupError):
    """There is no periodic job of this name."""


class UnknownQueue(RiverError, ValueError):
    """A queue was meant, by a job or by name, that no setting names and nobody has added."""


class JobSnooze(Exception):
    """Raise it in a job to run again later without using up an attempt.

    >>> raise JobSnooze(timedelta(minutes=5))  # doctest: +SKIP
    """

    def __init__(self, after: timedelta | float) -> None:
        self.after = after if isinstance(after, timedelta) else timedelta(seconds=after)
        if self.after < timedelta(0):
            raise ValueError(f"after must not be negative, got {after!r}")
        super().__init__(f"snooze for {self.after}")


class JobCancel(Exception):
    """Raise it in a job to end it as ``cancelled``: it will not be retried."""

    def __init__(self, reason: str = "cancelled by the job") -> None:
        super().__init__(reason)


class JobDiscard(Exception):
    """Raise it in a job to end it as ``discarded``, whatever attempts are left."""

    def __init__(self, reason: str = "discarded by the job") -> None:
        super().__init__(reason)


class JobInterrupted(Exception):
    """Raised in a job that has been asked to stop, by :meth:`JobContext.raise_if_cancelled` or with ``interrupt``."""


class JobStuck(RuntimeError):
    """A job has missed a heartbeat that it promised."""


class JobSuspicious(RuntimeError):
    """A job has run far longer than its kind usually does."""


class StepError(RiverError):
    """A resumable job's steps do not fit together, or not with those of its last attempt."""


class JobProcessDied(RuntimeError):
    """The child process of an isolated job ended in the middle of it."""


class JobTimeout(TimeoutError):
    """An attempt ran longer than its ``timeout``."""
