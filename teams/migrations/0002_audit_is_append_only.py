"""The database itself refuses to change or delete an audit entry."""

from typing import Any

from django.db import migrations

_SQLITE = [
    f"""CREATE TRIGGER audit_no_{verb} BEFORE {verb} ON teams_auditentry
    BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END"""
    for verb in ("update", "delete")
]
_POSTGRESQL = [
    """CREATE FUNCTION audit_refuse() RETURNS trigger AS
    $$ BEGIN RAISE EXCEPTION 'audit entries are append-only'; END $$ LANGUAGE plpgsql""",
    """CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON teams_auditentry
    FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
]


def forwards(apps: Any, schema_editor: Any) -> None:
    for statement in {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


def backwards(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER audit_no_update")
        schema_editor.execute("DROP TRIGGER audit_no_delete")
    else:
        schema_editor.execute("DROP TRIGGER audit_append_only ON teams_auditentry")
        schema_editor.execute("DROP FUNCTION audit_refuse()")


class Migration(migrations.Migration):
    dependencies = [("teams", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]
