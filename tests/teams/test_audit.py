"""The audit trail only grows, whoever tries."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import DatabaseError, connection, transaction

from teams import audit
from teams.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry():
    """An entry, with the triggers as an installation has them (see django_db_setup in tests/conftest.py)."""
    if connection.vendor == "sqlite":
        migration = import_module("teams.migrations.0002_audit_is_append_only")
        with connection.cursor() as cursor:
            cursor.execute(next(s for s in migration._SQLITE if "BEFORE delete" in s))
    return audit.write(actor="ann", action="approve", target="stage:demo/1/ship", digest="sha256:0")


@pytest.mark.parametrize("change", ["update", "delete", "save"])
def test_an_entry_stays_as_it_was_written(entry, change):
    entry.actor = "somebody else"
    changes = {
        "update": lambda: AuditEntry.objects.update(actor="somebody else"),
        "delete": lambda: AuditEntry.objects.all().delete(),
        "save": entry.save,
    }
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        changes[change]()
    assert AuditEntry.objects.get().actor == "ann"


OTHER_WAYS = {
    "sqlite": ["INSERT OR REPLACE INTO {rows}", "REPLACE INTO {rows}", "INSERT OR IGNORE INTO {rows}"],
    "postgresql": [
        "TRUNCATE teams_auditentry",
        "INSERT INTO {rows} ON CONFLICT (id) DO UPDATE SET actor = EXCLUDED.actor",
    ],
}


def test_no_other_way_leads_around_it(entry):
    if connection.vendor == "postgresql":
        migration = import_module("teams.migrations.0003_audit_rows_are_not_replaced")
        with connection.cursor() as cursor:
            cursor.execute(migration._FORWARDS["postgresql"])
    names = [field.column for field in AuditEntry._meta.concrete_fields]
    values = {**{name: getattr(entry, name) for name in names}, "actor": "somebody else", "data": "{}"}
    rows = f"teams_auditentry ({', '.join(names)}) VALUES ({', '.join(f'%({name})s' for name in names)})"
    for statement in OTHER_WAYS[connection.vendor]:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement.format(rows=rows), values if "rows" in statement else None)
        assert AuditEntry.objects.get().actor == "ann"
    assert audit.write(actor="ann", action="approve", target="stage:demo/1/ship").pk == entry.pk + 1
