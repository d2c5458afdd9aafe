"""The pages of the Django admin. Found by the admin's own autodiscovery; nothing else imports this package."""

from django_river.admin.clients import ClientAdmin
from django_river.admin.jobs import JobAdmin
from django_river.admin.leadership import LeaderAdmin, LeaderTermAdmin
from django_river.admin.periodic import PeriodicJobAdmin
from django_river.admin.queues import QueueAdmin

__all__ = ["ClientAdmin", "JobAdmin", "LeaderAdmin", "LeaderTermAdmin", "PeriodicJobAdmin", "QueueAdmin"]
