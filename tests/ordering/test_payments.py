"""Payments: approved, declined, lost on the way there, lost on the way back; refunds; nothing twice, nothing lost."""

import datetime as dt
import uuid
from dataclasses import replace

import pytest
from django.urls import reverse
from django.utils import timezone

from ordering import board, orders, outbox, upkeep
from ordering.models import MenuItem, Order, OutboxMail, Payment, SandboxEntry
from ordering.payments import ProviderTimeoutError, provider_named, sandbox, settling
from ordering.terms import Terms
from ordering.wishes import Wish, plain_lines

pytestmark = pytest.mark.django_db

WISH = Wish(plain_lines({"brownie": 2}), name="Ada")


@pytest.fixture(autouse=True)
def sandboxed(settings, menu):
    settings.SHOP_PAYMENT_PROVIDER = "sandbox"
    settings.SHOP_REFUND_DELAY = 0.0
    return settings


def buy(source, key=None, **terms):
    return orders.place(key=key or str(uuid.uuid4()), wish=WISH, terms=Terms(payment="online", source=source, **terms))


def later(seconds):
    settling.reconcile(now=timezone.now() + dt.timedelta(seconds=seconds))


def taken():
    """What the provider holds, in all."""
    charges = SandboxEntry.objects.filter(kind="charge", state="done")
    refunds = SandboxEntry.objects.filter(kind="refund", state="done")
    return sum(entry.amount for entry in charges) - sum(entry.amount for entry in refunds)


def stock():
    return MenuItem.objects.get(slug="brownie").stock


def test_approved_is_received_and_the_receipt_is_owed_once(menu):
    order, created = buy("approve", "key-of-ada", email="ada@example.com")
    assert (order.status, created, taken(), stock()) == ("received", True, 840, 3)
    assert [event.kind for event in order.events.all()] == ["placed", "paid"]
    again, created = buy("approve", "key-of-ada", email="ada@example.com")
    assert (again, created, taken()) == (order, False, 840)
    assert OutboxMail.objects.count() == 1


def test_declined_is_canceled_and_everything_is_free_again(menu):
    with pytest.raises(orders.NotPaidError, match=r"The card was declined\. Nothing was charged"):
        buy("decline", "key-of-ada")
    order = Order.objects.get()
    assert (order.status, taken(), stock()) == ("canceled", 0, 5)
    with pytest.raises(orders.NotPaidError):
        buy("decline", "key-of-ada")
    with pytest.raises(orders.NotPossibleError):
        orders.undo(order=order, expect="canceled", actor="chef")
    with pytest.raises(orders.KeyReusedError):
        buy("approve", "key-of-ada")


def test_no_kitchen_sees_what_is_not_paid(client, menu, kitchen):
    order, _ = buy("timeout")
    assert order.status == "unpaid"
    assert "Ada" not in client.get(reverse("ordering:kitchen-board")).content.decode()
    assert "your payment is being confirmed" in client.get(order.get_absolute_url()).content.decode()


def test_what_was_never_paid_takes_no_place_among_what_the_kitchen_can_undo(menu):
    paid, _ = buy("approve")
    orders.cancel(order=paid, expect="received", actor="chef", reason="No buns.")
    for _ in range(board.MAX_DONE):
        with pytest.raises(orders.NotPaidError):
            buy("decline")
    assert board.recently_done() == [paid]


def test_done_but_timed_out_is_found_out_and_not_charged_again(menu):
    order, _ = buy("done-timeout", email="ada@example.com")
    assert (order.status, taken()) == ("unpaid", 840)
    assert settling.reconcile() == 1
    order.refresh_from_db()
    assert (order.status, taken(), stock()) == ("received", 840, 3)
    assert SandboxEntry.objects.get().asked == 1
    assert OutboxMail.objects.count() == 1


def test_who_asks_again_with_the_same_key_learns_it_too(menu):
    buy("done-timeout", "key-of-ada")
    order, created = buy("done-timeout", "key-of-ada")
    assert (order.status, created, taken()) == ("received", False, 840)


def test_what_never_arrives_is_tried_again_and_given_up_at_the_deadline(menu, sandboxed):
    order, _ = buy("timeout")
    later(20)
    order.refresh_from_db()
    assert (order.status, stock()) == ("unpaid", 3)
    later(300)
    order.refresh_from_db()
    assert (order.status, stock(), taken()) == ("canceled", 5, 0)
    charge = Payment.objects.get()
    late = provider_named("sandbox").charge(key=charge.key, amount=1, currency="EUR", source="approve")
    assert not late.done


def test_a_payment_that_arrives_while_it_is_given_up_counts(menu, monkeypatch):
    order, _ = buy("timeout")
    charge = Payment.objects.get()
    provider_named("sandbox").charge(key=charge.key, amount=charge.amount, currency="EUR", source="approve")
    monkeypatch.setattr(sandbox.Sandbox, "look_up", lambda *_, **__: None)
    later(300)
    order.refresh_from_db()
    assert (order.status, taken()) == ("received", 840)


def test_a_server_that_dies_after_the_charge_loses_nothing(menu, monkeypatch):
    """Between the provider's deed and our noting it."""
    real = settling.settle

    def die(*_):
        raise SystemExit

    monkeypatch.setattr(settling, "settle", die)
    with pytest.raises(SystemExit):
        buy("approve", "key-of-ada")
    monkeypatch.setattr(settling, "settle", real)
    assert Order.objects.get().status == "unpaid"
    assert buy("approve", "key-of-ada")[0].status == "unpaid", "whoever asked first may still be asking"
    later(16)
    assert (Order.objects.get().status, taken()) == ("received", 840)


def test_a_provider_that_is_away_is_asked_less_and_less_often(menu, monkeypatch):
    buy("done-timeout")

    def away(*_, **__):
        raise ProviderTimeoutError("away")

    monkeypatch.setattr(sandbox.Sandbox, "look_up", away)
    waits = []
    for _ in range(4):
        due = Payment.objects.get().due_at
        settling.reconcile(now=due)
        waits.append((Payment.objects.get().due_at - due).total_seconds())
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    assert Order.objects.get().status == "unpaid"


def test_canceling_pays_back_once(menu):
    order, _ = buy("approve")
    orders.cancel(order=order, expect="received", actor="chef", reason="No buns.")
    orders.cancel(order=order, expect="received", actor="chef", reason="No buns.")
    assert taken() == 840
    later(1)
    later(400)
    assert taken() == 0
    assert Payment.objects.filter(kind="refund").count() == 1
    with pytest.raises(orders.NotPossibleError, match="money is on its way back"):
        orders.undo(order=order, expect="canceled", actor="chef")


def test_a_cancellation_is_undone_before_its_refund_begins(menu, sandboxed):
    sandboxed.SHOP_REFUND_DELAY = 30.0
    order, _ = buy("approve", email="ada@example.com")
    orders.cancel(order=order, expect="received", actor="chef", reason="The wrong one.")
    orders.undo(order=order, expect="canceled", actor="chef")
    later(60)
    assert (order.status, taken(), stock()) == ("received", 840, 3)
    assert list(OutboxMail.objects.values_list("kind", flat=True)) == ["receipt"]
    orders.cancel(order=order, expect="received", actor="chef", reason="The right one.")
    later(60)
    assert taken() == 0


def test_a_second_charge_or_refund_cannot_even_be_written(menu):
    from django.db import IntegrityError, transaction

    order, _ = buy("approve")
    with pytest.raises(IntegrityError), transaction.atomic():
        settling.owe_charge(order, source="approve", now=timezone.now())


def test_what_costs_nothing_asks_nobody(menu):
    from ordering.models import PromoCode

    PromoCode.objects.create(code="FREE", kind="percent", value=100)
    order, _ = buy("decline", promo="FREE")
    assert (order.status, order.total, Payment.objects.count()) == ("received", 0, 0)


@pytest.mark.parametrize(
    ("terms", "problem"),
    [
        ({"payment": "online", "source": "gold"}, "payment"),
        ({"payment": "cheque"}, "payment"),
        ({"tip": -1}, "tip"),
        ({"tip": 10**9}, "tip"),
        ({"email": "nonsense"}, "email"),
        ({"email": "a" * 300 + "@example.com"}, "email"),
    ],
)
def test_terms_that_cannot_be_are_listed(menu, terms, problem):
    with pytest.raises(orders.CannotPlaceError) as error:
        orders.place(key="key-of-ada", wish=WISH, terms=Terms(**terms))
    assert [found.code for found in error.value.problems] == [problem]


def test_without_a_provider_orders_are_paid_at_the_counter(client, menu, sandboxed):
    sandboxed.SHOP_PAYMENT_PROVIDER = ""
    with pytest.raises(orders.CannotPlaceError, match="Pay at the counter"):
        buy("approve")
    client.post(reverse("ordering:change-cart"), {"add": "fries"})
    assert "You pay at the counter" in client.get(reverse("ordering:checkout")).content.decode()


def test_a_round_does_all_that_is_due(menu, mailoutbox):
    order, _ = buy("done-timeout", email="ada@example.com")
    assert upkeep.once() == 2
    assert mailoutbox[0].to == ["ada@example.com"]
    assert f"Order {order.number}" in mailoutbox[0].body
    assert "8.40" in mailoutbox[0].body
    assert upkeep.once() == 0


def test_a_mail_that_cannot_be_sent_stays_owed(menu, monkeypatch, mailoutbox):
    from django.core.mail import EmailMessage

    from ordering import outbox

    buy("approve", email="ada@example.com")
    monkeypatch.setattr(EmailMessage, "send", lambda _mail: 1 / 0)
    assert outbox.deliver() == 0
    monkeypatch.undo()
    owed = OutboxMail.objects.get()
    assert (owed.sent_at, owed.attempts) == (None, 1)
    assert owed.failure
    assert outbox.deliver(now=owed.due_at) == 1
    assert len(mailoutbox) == 1


@pytest.mark.parametrize("terms", [Terms(), Terms(tip=100), Terms(payment="online", source="approve")])
@pytest.mark.parametrize("link", ["", "https://burgers.example"])
def test_the_parts_of_a_mail_stand_one_blank_line_apart(settings, terms, link):
    settings.SHOP_PUBLIC_URL, settings.SHOP_TAX_RATE = link, 1900
    order, _ = orders.place(key=str(uuid.uuid4()), wish=WISH, terms=replace(terms, email="ada@example.com"))
    orders.cancel(order=order, expect="received", actor="chef", reason="The grill is cold.")
    mails = [outbox.message_of(mail).body for mail in OutboxMail.objects.all()]
    assert len(mails) == 2
    for body in mails:
        assert "\n\n\n" not in body
        assert body.endswith("\n\nBurger Stack\n")
        assert "tax: €1.34\n\n" in body
    assert "was canceled.\n\nThe grill is cold.\n\n2 x" in mails[1]
