from django.db import migrations

from ordering.first_menu import add_first_menu


def add(apps, schema_editor):
    add_first_menu(
        categories=apps.get_model("ordering", "Category").objects.using(schema_editor.connection.alias),
        items=apps.get_model("ordering", "MenuItem").objects.using(schema_editor.connection.alias),
    )


class Migration(migrations.Migration):
    dependencies = [("ordering", "0001_initial")]
    # Nothing to take back: items of the first menu may stand in orders.
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
