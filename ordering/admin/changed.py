"""Several people change one row, and orders count in it while a form is open. So a form writes what was changed in it,
compared with what stood in it when it was drawn, and leaves alone whatever else has become of the row since."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from ordering.admin.forms import TranslatedForm


class OnlyChanged(admin.ModelAdmin):
    """Writes the columns that a form changed, and no others."""

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        return super().formfield_for_dbfield(db_field, request, **kwargs, show_hidden_initial=True)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
        elif columns := changed_columns(form):
            obj.save(update_fields=columns)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        for field in form.instance._meta.many_to_many if change else ():
            if field.name not in form.changed_data:
                form.cleaned_data.pop(field.name, None)
        super().save_related(request, form, formsets, change)


def changed_columns(form: forms.ModelForm) -> list[str]:
    """The columns that this form changed."""
    columns = {field.name for field in form.instance._meta.concrete_fields}
    changed = {name for name in form.changed_data if name in columns}
    if isinstance(form, TranslatedForm):
        texts = {f"{field}_{code}" for code, field in form.translated()}
        changed |= {"translations"} if texts & set(form.changed_data) else set()
    return sorted(changed)
