"""People and teams, for administrators; each change leaves an audit entry. The audit trail can only be read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import Model
from django.forms import ModelForm
from django.http import HttpRequest

from . import audit
from .models import AuditEntry, Membership, Team, User


class Audited(admin.ModelAdmin):
    """Writes down who added, changed or deleted what; never a value, which may be a secret."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._write(request, "add", obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._write(request, "change", obj, changed=_fields(message))
        return super().log_change(request, obj, message)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self._write(request, "delete", obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for obj in queryset:
            self._write(request, "delete", obj)
        super().delete_queryset(request, queryset)

    def _write(self, request: HttpRequest, verb: str, obj: Model, **data: Any) -> None:
        kind = obj._meta.model_name or "thing"
        audit.write(actor=request.user.get_username(), action=f"{verb}-{kind}", target=f"{kind}:{obj}", **data)


def _fields(message: Any) -> list[str]:
    """The names of the fields that Django's own log message tells of."""
    if not isinstance(message, list):
        return []
    return sorted({name for part in message for name in part.get("changed", {}).get("fields", [])})


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 1
    autocomplete_fields = ("user",)


@admin.register(Team)
class TeamAdmin(Audited):
    list_display = ("slug", "name", "color")
    inlines = (MembershipInline,)

    def save_related(self, request: HttpRequest, form: ModelForm, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        for formset in formsets:
            for member in (*formset.new_objects, *(pair[0] for pair in formset.changed_objects)):
                self._write(request, "set", member, role=member.role)
            for member in formset.deleted_objects:
                self._write(request, "delete", member)


@admin.register(User)
class PersonAdmin(Audited, UserAdmin):
    list_display = ("username", "email", "is_active", "is_superuser")


@admin.register(AuditEntry)
class AuditAdmin(admin.ModelAdmin):
    list_display = ("at", "actor", "action", "target", "allowed")
    search_fields = ("actor", "target", "action")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
