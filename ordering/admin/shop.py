"""Hours, slots, promo codes and orders in the admin. Orders, payments and mails are only looked at here: what changes
them goes through `ordering.orders`, as everywhere."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ordering import money, orders
from ordering.access import actor_of
from ordering.admin.changed import OnlyChanged
from ordering.admin.forms import MinorUnitsField
from ordering.models import (
    OpeningHours,
    Order,
    OrderEvent,
    OrderLine,
    OutboxMail,
    Payment,
    PickupSlot,
    PromoCode,
    ShopState,
    SpecialDay,
)


class LookedAt:
    """Rows that nobody adds, changes or deletes by hand."""

    def has_add_permission(self, request: HttpRequest, *_args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, *_args: Any) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, *_args: Any) -> bool:
        return False


def _cash(column: str, label: Any) -> Any:
    """A column that shows an amount as people write it."""

    @admin.display(description=label, ordering=column)
    def shown(_self: Any, row: Any) -> str:
        currency = row.order.currency if isinstance(row, OrderLine) else row.currency
        return money.display(getattr(row, column), currency)

    return shown


@admin.register(OpeningHours)
class OpeningHoursAdmin(OnlyChanged):
    list_display = ["weekday", "opens", "closes"]
    list_display_links = ["weekday"]
    list_editable = ["opens", "closes"]


@admin.register(SpecialDay)
class SpecialDayAdmin(OnlyChanged):
    list_display = ["date", "opens", "closes", "note"]
    ordering = ["-date"]


@admin.register(PickupSlot)
class PickupSlotAdmin(OnlyChanged):
    list_display = ["starts_at", "taken", "capacity"]
    list_editable = ["capacity"]
    readonly_fields = ["taken"]
    ordering = ["-starts_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Its row counts the orders that have taken it."""
        return False


@admin.register(ShopState)
class ShopStateAdmin(OnlyChanged):
    list_display = ["__str__", "paused_until", "slot_minutes", "slot_capacity", "base_minutes", "minutes_per_order"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not ShopState.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.pk = obj.pk or 1
        super().save_model(request, obj, form, change)


@admin.register(PromoCode)
class PromoCodeAdmin(OnlyChanged):
    list_display = ["code", "kind", "value", "active", "starts_at", "ends_at", "uses", "max_uses"]
    list_editable = ["active"]
    list_filter = ["active", "kind"]
    search_fields = ["code"]
    readonly_fields = ["uses"]

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "minimum":
            label = gettext_lazy("minimum order")
            return MinorUnitsField(label=label, required=True, initial=0, show_hidden_initial=True)
        return super().formfield_for_dbfield(db_field, request, **kwargs)


class LineInline(LookedAt, admin.TabularInline):
    model = OrderLine
    fields = ["quantity", "name", "each", "off", "tax", "station", "made_at"]
    readonly_fields = ["each", "off", "tax"]
    extra = 0
    each, off = _cash("price", gettext_lazy("price")), _cash("discount", gettext_lazy("discount"))

    @admin.display(description=gettext_lazy("tax"))
    def tax(self, line: OrderLine) -> str:
        return f"{line.tax_rate / 100:g} %"


class EventInline(LookedAt, admin.TabularInline):
    model = OrderEvent
    fields = ["at", "kind", "from_status", "to_status", "actor", "reason"]
    extra = 0


class PaymentInline(LookedAt, admin.TabularInline):
    model = Payment
    fields = ["kind", "state", "sum", "reference", "reason", "attempts", "created_at", "settled_at"]
    readonly_fields = ["sum"]
    extra = 0
    sum = _cash("amount", gettext_lazy("amount"))


@admin.register(Order)
class OrderAdmin(LookedAt, admin.ModelAdmin):
    list_display = ["__str__", "name", "status", "sum", "payment_method", "pickup_at", "placed_at"]
    list_filter = ["status", "payment_method"]
    search_fields = ["name", "email", "token", "=number"]
    ordering = ["-pk"]
    show_full_result_count = False
    list_per_page = 50
    inlines = [LineInline, EventInline, PaymentInline]
    actions = ["cancel"]
    fields = [
        "day", "number", "status", "status_since", "customer", "name", "email", "note", "sum", "off", "for_the_team",
        "tax_inside", "promo_code", "payment_method", "pickup_at", "placed_at",
    ]  # fmt: skip
    readonly_fields = ["sum", "off", "for_the_team", "tax_inside"]
    sum, off = _cash("total", gettext_lazy("total")), _cash("discount", gettext_lazy("discount"))
    for_the_team, tax_inside = _cash("tip", gettext_lazy("tip")), _cash("tax", gettext_lazy("tax included"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        return super().get_queryset(request).defer("note")

    @admin.action(description=gettext_lazy("Cancel, and pay back what was paid online"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, chosen: QuerySet[Order]) -> None:
        for order in chosen:
            try:
                reason = _("The shop had to cancel it.")
                orders.cancel(order=order, expect=order.status, actor=actor_of(request), reason=reason)
            except orders.NotPossibleError as error:
                self.message_user(request, str(error), messages.WARNING)
            else:
                self.message_user(request, _("Order %(number)d is canceled.") % {"number": order.number})

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ordering.work_kitchen") or request.user.has_perm("ordering.change_order")


@admin.register(Payment)
class PaymentAdmin(LookedAt, admin.ModelAdmin):
    list_display = ["order", "kind", "state", "sum", "attempts", "reason", "created_at"]
    sum = _cash("amount", gettext_lazy("amount"))
    list_filter = ["state", "kind"]
    list_select_related = ["order"]
    search_fields = ["reference", "order__token"]
    ordering = ["-pk"]
    show_full_result_count = False


@admin.register(OutboxMail)
class OutboxMailAdmin(LookedAt, admin.ModelAdmin):
    list_display = ["order", "kind", "attempts", "sent_at", "failure"]
    list_filter = ["kind"]
    list_select_related = ["order"]
    ordering = ["-pk"]
    show_full_result_count = False
