# Terms of leaders, and what clients say of themselves as candidates. Defaults in the database: older clients write on.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_river", "0001_initial"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="leader",
            options={
                "permissions": [("resign_leader", "Can ask the leader to resign")],
                "verbose_name": "leader",
                "verbose_name_plural": "leader",
            },
        ),
        migrations.AddField(
            model_name="client",
            name="labels",
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.AddField(
            model_name="client",
            name="objection",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="client",
            name="preference",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="client",
            name="session",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.CreateModel(
            name="LeaderTerm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("client_id", models.TextField()),
                ("host", models.TextField(blank=True)),
                ("pid", models.BigIntegerField(blank=True, null=True)),
                ("labels", models.JSONField(default=dict)),
                ("elected_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("why", models.TextField(blank=True)),
                ("resign_requested_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "term",
                "verbose_name_plural": "terms",
                "constraints": [
                    models.UniqueConstraint(fields=("client_id", "elected_at"), name="django_river_term")
                ],
            },
        ),
    ]
