"""What jobs that use the ORM work on."""

from django.db import models


class Account(models.Model):
    """A row per job: no two jobs wait for one another."""

    balance = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"account {self.pk}"
