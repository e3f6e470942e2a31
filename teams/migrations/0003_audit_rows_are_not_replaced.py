"""The other ways to change or empty the audit trail: INSERT OR REPLACE deletes a row without its triggers, TRUNCATE all
of them."""

from typing import Any

from django.db import migrations

_FORWARDS = {
    "sqlite": """CREATE TRIGGER audit_no_replace BEFORE INSERT ON teams_auditentry
        WHEN EXISTS (SELECT 1 FROM teams_auditentry WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END""",
    "postgresql": """CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON teams_auditentry
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()""",
}
_BACKWARDS = {
    "sqlite": "DROP TRIGGER audit_no_replace",
    "postgresql": "DROP TRIGGER audit_no_truncate ON teams_auditentry",
}


def forwards(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(_FORWARDS[schema_editor.connection.vendor])


def backwards(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(_BACKWARDS[schema_editor.connection.vendor])


class Migration(migrations.Migration):
    dependencies = [("teams", "0002_audit_is_append_only")]
    operations = [migrations.RunPython(forwards, backwards)]
