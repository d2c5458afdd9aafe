# What is said of queues at run time, what limits have to remember, and what clients saw of queues.

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_river", "0004_periodic"),
    ]

    operations = [
        migrations.CreateModel(
            name="QueueResume",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("resume_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="QueueRow",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("settings", models.JSONField(default=dict)),
                ("removal", models.TextField(blank=True, db_default="", default="")),
                ("moved_to", models.TextField(blank=True, db_default="", default="")),
                ("removed_at", models.DateTimeField(blank=True, null=True)),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "settings of a queue",
                "verbose_name_plural": "settings of queues",
            },
        ),
        migrations.CreateModel(
            name="QueueStarts",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("starts", models.JSONField(default=list)),
            ],
            options={
                "verbose_name_plural": "queue starts",
            },
        ),
        migrations.AddField(
            model_name="client",
            name="applied",
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.CreateModel(
            name="QueueMinute",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("minute", models.DateTimeField()),
                ("queue", models.TextField()),
                ("client_id", models.TextField()),
                ("completed", models.PositiveIntegerField()),
                ("failed", models.PositiveIntegerField()),
                ("waits", models.JSONField(default=dict)),
                ("runs", models.JSONField(default=dict)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("minute", "queue", "client_id"), name="django_river_minute"
                    )
                ],
            },
        ),
    ]
