"""The menu in the admin: categories, items, options, combos, prices, stock and what is sold today.

What nobody touched in a form is not written by it (`changed`): neither a count that orders went on with, nor a price
that somebody else has set since.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ordering.admin.changed import OnlyChanged, changed_columns
from ordering.admin.forms import MinorUnitsField, allergens_field, diets_field, translated_form
from ordering.models import Category, ComboChoice, ComboPart, MenuItem, Option, OptionGroup


def _formfield(db_field: models.Field, made: Any, options: dict[str, Any]) -> Any:
    """The form's field for a column of the catalogue; `made` makes Django's own."""
    if db_field.name == "price":
        return MinorUnitsField(label=_("price"), required=True, show_hidden_initial=True)
    if db_field.name == "allergens":
        return allergens_field()
    if db_field.name == "diets":
        return diets_field()
    return made(**{**options, "show_hidden_initial": True})


class CatalogueAdmin(OnlyChanged):
    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        return _formfield(
            db_field, lambda **options: super(OnlyChanged, self).formfield_for_dbfield(db_field, request, **options),
            kwargs,
        )  # fmt: skip

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save(commit=False)
        for gone in formset.deleted_objects:
            gone.delete()
        by_row = {row.instance.pk: row for row in formset.initial_forms}
        for row, _names in formset.changed_objects:
            if changed := changed_columns(by_row[row.pk]):
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
