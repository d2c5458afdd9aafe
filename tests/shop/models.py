"""What the jobs leave behind, so that tests can count runs."""

from django.db import models


class Run(models.Model):
    """One execution of a job's code."""

    job_id = models.BigIntegerField()
    attempt = models.IntegerField()
    what = models.CharField(max_length=50)

    class Meta:
        app_label = "shop"


class Order(models.Model):
    """Something a user's transaction writes beside a job."""

    number = models.IntegerField(unique=True)

    class Meta:
        app_label = "shop"
