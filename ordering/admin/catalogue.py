"""The menu in the admin: categories, items, options, combos, prices, stock and what is sold today.

Orders count stock down while a form is open. So only what was changed in a form is written: a count that nobody touched
never overwrites what was sold meanwhile.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ordering.admin.forms import MinorUnitsField, TranslatedForm, allergens_field, diets_field, translated_form
from ordering.models import Category, ComboChoice, ComboPart, MenuItem, Option, OptionGroup


def _formfield(db_field: models.Field, made: Any, options: dict[str, Any]) -> Any:
    """The form's field for a column of the catalogue; `made` makes Django's own."""
    if db_field.name == "price":
        return MinorUnitsField(label=_("price"), required=True)
    if db_field.name == "allergens":
        return allergens_field()
    if db_field.name == "diets":
        return diets_field()
    if db_field.name == "stock":
        # Compared with what stood in the form, not with what the orders have left of it since.
        options = {**options, "show_hidden_initial": True}
    return made(**options)


def _changed(form: forms.ModelForm) -> list[str]:
    """The columns that this form changed."""
    columns = {field.name for field in form.instance._meta.concrete_fields}
    changed = {name for name in form.changed_data if name in columns}
    if isinstance(form, TranslatedForm):
        texts = {f"{field}_{code}" for code, field in form.translated()}
        changed |= {"translations"} if texts & set(form.changed_data) else set()
    return sorted(changed)


class CatalogueAdmin(admin.ModelAdmin):
    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        return _formfield(
            db_field, lambda **options: super(CatalogueAdmin, self).formfield_for_dbfield(db_field, request, **options),
            kwargs,
        )  # fmt: skip

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
        elif changed := _changed(form):
            obj.save(update_fields=changed)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save(commit=False)
        for gone in formset.deleted_objects:
            gone.delete()
        by_row = {row.instance.pk: row for row in formset.initial_forms}
        for row, _names in formset.changed_objects:
            if changed := _changed(by_row[row.pk]):
                row.save(update_fields=changed)
        for row in formset.new_objects:
            row.save()
        formset.save_m2m()


class CatalogueInline(admin.TabularInline):
    extra = 0

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        return _formfield(
            db_field,
            lambda **options: super(CatalogueInline, self).formfield_for_dbfield(db_field, request, **options),
            kwargs,
        )


@admin.register(Category)
class CategoryAdmin(CatalogueAdmin):
    form = translated_form(Category, "name")
    list_display = ("name", "position", "station", "tax_rate")
    list_editable = ("position",)
    prepopulated_fields = {"slug": ("name",)}
    exclude = ("translations",)


class OptionInline(CatalogueInline):
    model = Option
    form = translated_form(Option, "name")
    exclude = ("translations",)


@admin.register(OptionGroup)
class OptionGroupAdmin(CatalogueAdmin):
    form = translated_form(OptionGroup, "name")
    list_display = ("name", "slug", "minimum", "maximum", "position")
    prepopulated_fields = {"slug": ("name",)}
    exclude = ("translations",)
    inlines = (OptionInline,)


class ComboPartInline(CatalogueInline):
    model = ComboPart
    form = translated_form(ComboPart, "name")
    exclude = ("translations",)
    show_change_link = True
    verbose_name_plural = _("parts, which make it a combo")


class ComboChoiceInline(CatalogueInline):
    model = ComboChoice
    autocomplete_fields = ("item",)


@admin.register(ComboPart)
class ComboPartAdmin(CatalogueAdmin):
    form = translated_form(ComboPart, "name")
    list_display = ("combo", "name", "position")
    list_select_related = ("combo",)
    autocomplete_fields = ("combo",)
    exclude = ("translations",)
    inlines = (ComboChoiceInline,)


@admin.register(Option)
class OptionAdmin(CatalogueAdmin):
    """What is there of the options, and what they cost, on one page."""

    form = translated_form(Option, "name")
    list_display = ("name", "group", "price", "stock", "available")
    list_editable = ("price", "stock", "available")
    list_filter = ("group", "available")
    list_select_related = ("group",)
    exclude = ("translations",)


@admin.register(MenuItem)
class MenuItemAdmin(CatalogueAdmin):
    form = translated_form(MenuItem, "name", "description")
    list_display = ("name", "category", "price", "stock", "available")
    list_editable = ("price", "stock", "available")
    list_filter = ("category", "available")
    list_select_related = ("category",)
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ("name",)}
    filter_horizontal = ("option_groups",)
    exclude = ("translations",)
    inlines = (ComboPartInline,)
    actions = ("take_off", "put_back")

    @admin.action(description=_("Not sold today"), permissions=["change"])
    def take_off(self, request: HttpRequest, queryset: QuerySet[MenuItem]) -> None:
        queryset.update(available=False)

    @admin.action(description=_("Sold again"), permissions=["change"])
    def put_back(self, request: HttpRequest, queryset: QuerySet[MenuItem]) -> None:
        queryset.update(available=True)
