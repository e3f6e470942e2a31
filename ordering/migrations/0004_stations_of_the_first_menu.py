from django.db import migrations

STATIONS = {"sides": "fryer", "drinks": "drinks", "desserts": "cold"}


def assign(apps, schema_editor):
    categories = apps.get_model("ordering", "Category").objects.using(schema_editor.connection.alias)
    for slug, station in STATIONS.items():
        categories.filter(slug=slug).update(station=station)


class Migration(migrations.Migration):
    dependencies = [("ordering", "0003_hours_promos_payments")]
    operations = [migrations.RunPython(assign, migrations.RunPython.noop)]
