# River's tables, created or adopted, and our own beside them.

import django.db.models.expressions
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
from django.db import migrations, models

import django_river.fields
from django_river.storage.migration import RiverTables


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Client",
            fields=[
                ("id", models.TextField(primary_key=True, serialize=False)),
                ("host", models.TextField()),
                ("pid", models.BigIntegerField()),
                ("version", models.TextField()),
                ("queues", models.JSONField(default=list)),
                ("slots", models.PositiveIntegerField()),
                ("can_lead", models.BooleanField(default=True)),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("heartbeat_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "client",
                "verbose_name_plural": "clients",
            },
        ),
        RiverTables(
            [
                migrations.CreateModel(
                    name="Queue",
                    fields=[
                        ("name", models.TextField(primary_key=True, serialize=False)),
                        ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                        ("metadata", models.JSONField(default=dict)),
                        ("paused_at", models.DateTimeField(blank=True, null=True)),
                        ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                    ],
                    options={
                        "verbose_name": "queue",
                        "verbose_name_plural": "queues",
                        "db_table": "river_queue",
                        "permissions": [("pause_queue", "Can pause and resume queues")],
                    },
                ),
                migrations.CreateModel(
                    name="Job",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("state", django_river.fields.StateField(default="available")),
                        ("attempt", models.SmallIntegerField(default=0)),
                        ("max_attempts", models.SmallIntegerField(default=25)),
                        ("attempted_at", models.DateTimeField(blank=True, null=True)),
                        ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                        ("finalized_at", models.DateTimeField(blank=True, null=True)),
                        ("scheduled_at", models.DateTimeField(default=django.utils.timezone.now)),
                        ("priority", models.SmallIntegerField(default=1)),
                        ("args", models.JSONField()),
                        ("attempted_by", django_river.fields.TextArrayField(blank=True, null=True)),
                        ("errors", django_river.fields.JSONArrayField(blank=True, null=True)),
                        ("kind", models.TextField()),
                        ("metadata", models.JSONField(default=dict)),
                        ("queue", models.TextField(default="default")),
                        ("tags", django_river.fields.TagsField(blank=True, default=list)),
                        ("unique_key", models.BinaryField(blank=True, null=True)),
                        ("unique_states", django_river.fields.BitMaskField(blank=True, null=True)),
                    ],
                    options={
                        "verbose_name": "job",
                        "verbose_name_plural": "jobs",
                        "db_table": "river_job",
                        "permissions": [("retry_job", "Can retry jobs"), ("cancel_job", "Can cancel jobs")],
                        "indexes": [
                            models.Index(
                                models.F("queue"),
                                models.F("priority"),
                                models.F("scheduled_at"),
                                models.F("id"),
                                condition=models.Q(("state", "available")),
                                name="django_river_job_fetch_idx",
                            ),
                            models.Index(
                                models.F("scheduled_at"),
                                models.F("id"),
                                condition=models.Q(("state__in", ["retryable", "scheduled"])),
                                name="django_river_job_due_idx",
                            ),
                            models.Index(
                                models.F("id"),
                                condition=models.Q(("state", "running")),
                                name="django_river_job_running_idx",
                            ),
                            models.Index(
                                models.F("state"),
                                models.F("id"),
                                condition=models.Q(("state__in", ["cancelled", "discarded"])),
                                name="django_river_job_failed_idx",
                            ),
                        ],
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(
                                        ("finalized_at__isnull", True),
                                        models.Q(
                                            ("state__in", ["cancelled", "completed", "discarded"]),
                                            _negated=True,
                                        ),
                                    ),
                                    models.Q(
                                        ("finalized_at__isnull", False),
                                        ("state__in", ["cancelled", "completed", "discarded"]),
                                    ),
                                    _connector="OR",
                                ),
                                name="finalized_or_finalized_at_null",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(("max_attempts__gt", 0)), name="max_attempts_is_positive"
                            ),
                            models.CheckConstraint(
                                condition=models.Q(("priority__gte", 1), ("priority__lte", 4)),
                                name="priority_in_range",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    django.db.models.lookups.GreaterThan(
                                        django.db.models.functions.text.Length(models.F("queue")), 0
                                    ),
                                    django.db.models.lookups.LessThan(
                                        django.db.models.functions.text.Length(models.F("queue")), 128
                                    ),
                                ),
                                name="queue_length",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    django.db.models.lookups.GreaterThan(
                                        django.db.models.functions.text.Length(models.F("kind")), 0
                                    ),
                                    django.db.models.lookups.LessThan(
                                        django.db.models.functions.text.Length(models.F("kind")), 128
                                    ),
                                ),
                                name="kind_length",
                            ),
                            models.UniqueConstraint(
                                condition=models.Q(
                                    ("unique_key__isnull", False),
                                    ("unique_states__isnull", False),
                                    django.db.models.lookups.GreaterThan(
                                        django.db.models.expressions.CombinedExpression(
                                            models.F("unique_states"),
                                            "&",
                                            models.Case(
                                                models.When(state="available", then=models.Value(1)),
                                                models.When(state="cancelled", then=models.Value(2)),
                                                models.When(state="completed", then=models.Value(4)),
                                                models.When(state="discarded", then=models.Value(8)),
                                                models.When(state="pending", then=models.Value(16)),
                                                models.When(state="retryable", then=models.Value(32)),
                                                models.When(state="running", then=models.Value(64)),
                                                models.When(state="scheduled", then=models.Value(128)),
                                            ),
                                        ),
                                        0,
                                    ),
                                ),
                                fields=("unique_key",),
                                name="river_job_unique_idx",
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Leader",
                    fields=[
                        ("name", models.TextField(default="default", primary_key=True, serialize=False)),
                        ("elected_at", models.DateTimeField()),
                        ("expires_at", models.DateTimeField()),
                        ("leader_id", models.TextField()),
                    ],
                    options={
                        "verbose_name": "leader",
                        "verbose_name_plural": "leader",
                        "db_table": "river_leader",
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(("name", "default")), name="name_length"
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    django.db.models.lookups.GreaterThan(
                                        django.db.models.functions.text.Length(models.F("leader_id")), 0
                                    ),
                                    django.db.models.lookups.LessThan(
                                        django.db.models.functions.text.Length(models.F("leader_id")), 128
                                    ),
                                ),
                                name="leader_id_length",
                            ),
                        ],
                    },
                ),
            ]
        ),
    ]
