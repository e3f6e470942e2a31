from django.db import migrations

from ordering.menu_choices import add_choices


def add(apps, schema_editor):
    add_choices(lambda name: apps.get_model("ordering", name).objects.using(schema_editor.connection.alias))


class Migration(migrations.Migration):
    dependencies = [("ordering", "0005_choices")]
    # Nothing to take back: combos of the first menu may stand in orders.
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
