# What clients say of their parts that fail. The default is in the database: older clients write on.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_river", "0002_leadership"),
    ]

    operations = [
        migrations.AddField(
            model_name="client",
            name="troubles",
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict),
        ),
    ]
