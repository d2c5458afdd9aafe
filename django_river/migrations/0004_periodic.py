# Which periodic jobs are in force, when each runs next, and who declares which. Defaults in the database: older clients write on.

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_river", "0003_client_troubles"),
    ]

    operations = [
        migrations.CreateModel(
            name="PeriodicJob",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("kind", models.TextField()),
                ("schedule", models.TextField()),
                ("entry", models.TextField()),
                ("fingerprint", models.TextField()),
                ("next_run_at", models.DateTimeField(blank=True, null=True)),
                ("extra_run_at", models.DateTimeField(blank=True, null=True)),
                ("last_run_at", models.DateTimeField(blank=True, null=True)),
                ("last_job_id", models.BigIntegerField(blank=True, null=True)),
                ("last_outcome", models.TextField(blank=True, default="")),
                ("last_finished_at", models.DateTimeField(blank=True, null=True)),
                ("last_success_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.TextField(blank=True, default="")),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("expect_success_within", models.FloatField(blank=True, null=True)),
                ("expected_since", models.DateTimeField(default=django.utils.timezone.now)),
                ("overdue_since", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "periodic job",
                "verbose_name_plural": "periodic jobs",
                "permissions": [
                    ("pause_periodicjob", "Can pause and resume periodic jobs"),
                    ("run_periodicjob", "Can run periodic jobs now"),
                ],
            },
        ),
        migrations.CreateModel(
            name="PeriodicRegistry",
            fields=[
                ("hash", models.TextField(primary_key=True, serialize=False)),
                ("entries", models.TextField()),
                ("is_in_force", models.BooleanField(null=True, unique=True)),
                ("release", models.TextField(blank=True, default="")),
                ("since", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "periodic registry",
                "verbose_name_plural": "periodic registries",
            },
        ),
        migrations.AddField(
            model_name="client",
            name="registry_hash",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="client",
            name="release",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
    ]
