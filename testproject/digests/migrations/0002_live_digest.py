import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("digests", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="LiveDigest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("made_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("made_by", models.CharField(help_text="Host and process.", max_length=300)),
                ("cache_built_at", models.DateTimeField()),
                ("documents", models.PositiveIntegerField()),
                ("words", models.PositiveBigIntegerField()),
                ("most_frequent", models.JSONField(default=list)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
    ]
