"""River, the Postgres job queue, as a Django reusable app."""

from django_river.enqueue import BatchFunction, JobFunction, JobRequest, enqueue_many, job
from django_river.exceptions import (
    ArgumentTypeError,
    ArgumentValueError,
    DefinitionError,
    JobCancel,
    JobDiscard,
    JobInterrupted,
    JobProcessDied,
    JobSnooze,
    JobStuck,
    JobSuspicious,
    JobTimeout,
    QueueClosed,
    QueueExists,
    RegistryMismatch,
    RiverError,
    StepError,
    UnknownPeriodicJob,
    UnknownQueue,
)
from django_river.jobs.batch import Batch, BatchItem, JobBatch
from django_river.jobs.context import JobContext
from django_river.jobs.periodic import periodic
from django_river.jobs.retry import DefaultRetry, ExponentialRetry, Failure, FixedRetry, NoRetry, RetryOn
from django_river.jobs.states import State
from django_river.jobs.unique import Unique

__version__ = "0.1.0"

__all__ = [
    # Definition
    "job",
    "periodic",
    "JobContext",
    "JobFunction",
    "State",
    "Unique",
    # Batches
    "Batch",
    "BatchFunction",
    "BatchItem",
    "JobBatch",
    # Enqueue
    "JobRequest",
    "enqueue_many",
    # What a job may raise
    "JobCancel",
    "JobDiscard",
    "JobInterrupted",
    "JobSnooze",
    "JobTimeout",
    # What else an attempt may fail with
    "JobProcessDied",
    "JobStuck",
    "JobSuspicious",
    # Retry policies
    "DefaultRetry",
    "ExponentialRetry",
    "Failure",
    "FixedRetry",
    "NoRetry",
    "RetryOn",
    # Errors
    "ArgumentTypeError",
    "ArgumentValueError",
    "DefinitionError",
    "QueueClosed",
    "QueueExists",
    "RegistryMismatch",
    "RiverError",
    "UnknownPeriodicJob",
    "StepError",
    "UnknownQueue",
]
