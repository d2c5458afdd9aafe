# Clients that were taken for lost, counts of faults, and samples of run times. Nothing on the job table.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_river", "0005_queues"),
    ]

    operations = [
        migrations.AddField(
            model_name="client",
            name="lost_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="client",
            name="lost_why",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.CreateModel(
            name="FaultCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.TextField()),
                ("what", models.TextField()),
                ("day", models.DateField()),
                ("count", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "fault",
                "verbose_name_plural": "faults",
                "db_table": "django_river_fault",
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "what", "day"), name="django_river_fault_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="RunTime",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.TextField()),
                ("at", models.DateTimeField()),
                ("seconds", models.FloatField()),
                ("was_cut_off", models.BooleanField(db_default=False, default=False)),
            ],
            options={
                "verbose_name": "run time",
                "verbose_name_plural": "run times",
                "db_table": "django_river_runtime",
                "indexes": [models.Index(fields=["kind", "at"], name="django_river_runtime_idx")],
            },
        ),
    ]
