"""Django signals. Receivers run in the worker's own threads; what they raise is logged, never raised.

``job_started`` and ``job_finished`` are sent once per attempt, with ``sender`` the
:class:`~django_river.JobFunction` (``None`` for a kind this process does not know).
``job_finished`` is sent after the write and says what was *stored*.
"""

from django.dispatch import Signal

#: An attempt begins. Arguments: ``job`` (:class:`~django_river.storage.base.ClaimedJob`), ``client_id``.
job_started = Signal()

#: An attempt's result is stored. Arguments: ``job``, ``state`` (:class:`~django_river.State`), ``client_id``.
job_finished = Signal()

#: An attempt's result came too late and was not stored. Arguments: ``job``, ``client_id``.
job_result_refused = Signal()

#: A running job has missed a heartbeat that it promised. Arguments: ``job``, ``client_id``, ``seconds`` of silence.
job_stuck = Signal()

#: An attempt has taken longer than its timeout. Arguments: ``job``, ``client_id``.
job_timed_out = Signal()

#: The leader has found a job that runs far longer than its kind. Arguments: ``job``
#: (:class:`~django_river.storage.upkeep.RunningJob`), ``usual`` seconds at most, ``policy``.
job_suspicious = Signal()

#: The leader has made a job run again whose client is gone, or has ended it. Arguments: ``job``
#: (:class:`~django_river.storage.upkeep.RescuedJob`).
job_rescued = Signal()

#: The leader has taken a client for lost: its session is gone. Arguments: ``client_id``, ``seconds`` of silence.
client_lost = Signal()

#: The leader has taken a client for lost: its heartbeat is too old. Arguments: ``client_id``, ``seconds`` of silence.
client_stale = Signal()

#: This client had been taken for lost, and has come back. Arguments: ``client_id``, ``why``
#: (:class:`~django_river.faults.Fault`).
client_returned = Signal()

#: A client started or stopped. Arguments: ``client_id``.
client_started = Signal()
client_stopped = Signal()

#: This client leads from now on. Arguments: ``client_id``, ``term`` (:class:`~django_river.terms.Term`).
leader_elected = Signal()

#: This client leads no longer; what a leader does has been stopped. Arguments: ``client_id``, ``term``, ``why``
#: (:class:`~django_river.terms.TermEnd`).
leader_lost = Signal()

#: A periodic job has not succeeded for longer than ``expect_success_within``; sent once, by the leader, until it
#: succeeds again. Arguments: ``name``, ``kind``, ``last_success_at`` (``None``: never), ``expect_success_within``.
periodic_overdue = Signal()
