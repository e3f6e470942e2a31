"""What an order costs, to the last unit."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordering import money
from ordering.bill import Tax, make_bill, percentage, spread

amounts = st.integers(min_value=0, max_value=10_000_000)


# A busy machine is no fault of the arithmetic.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(st.lists(amounts, max_size=30), st.integers(min_value=0, max_value=1000))
def test_a_discount_is_spread_to_the_last_unit(totals, permille):
    amount = sum(totals) * permille // 1000
    parts = spread(amount, totals)
    assert sum(parts) == (amount if sum(totals) else 0)
    assert all(0 <= part <= total for part, total in zip(parts, totals, strict=True))


@patient
@given(st.lists(st.tuples(amounts, st.sampled_from([0, 700, 1900])), max_size=20), amounts, amounts)
def test_a_bill_adds_up(lines, discount, tip):
    bill = make_bill(lines, discount=discount, tip=tip)
    assert bill.goods == sum(total for total, _rate in lines)
    assert 0 <= bill.discount <= bill.goods
    assert bill.total == bill.goods - bill.discount + tip >= tip
    assert sum(tax.gross for tax in bill.taxes) <= bill.goods - bill.discount
    assert all(0 <= tax.amount < max(tax.gross, 1) for tax in bill.taxes)


@pytest.mark.parametrize(
    ("rate", "gross", "amount"),
    [(1900, 11900, 1900), (700, 10700, 700), (1900, 890, 142), (700, 0, 0), (10_000, 2, 1)],
)
def test_prices_include_their_tax(rate, gross, amount):
    assert make_bill([(gross, rate)]).taxes == (Tax(rate, gross, amount),)


def test_each_rate_has_a_row_and_a_tip_has_none():
    bill = make_bill([(1000, 700), (500, 1900), (500, 1900), (300, 0)], discount=230, tip=100)
    assert [(tax.rate, tax.gross) for tax in bill.taxes] == [(1900, 900), (700, 900)]
    assert (bill.total, bill.tax) == (2170, sum(tax.amount for tax in bill.taxes))


@pytest.mark.parametrize(("amount", "percent", "share"), [(999, 10, 100), (994, 10, 99), (995, 10, 100), (0, 15, 0)])
def test_percent_are_rounded_half_up(amount, percent, share):
    assert percentage(amount, percent) == share


@pytest.mark.parametrize(("rate", "words"), [(1900, "19"), (750, "7.5"), (725, "7.25"), (5, "0.05")])
def test_a_rate_is_written_as_people_do(rate, words):
    assert Tax(rate, 0, 0).percent == words


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("2", "EUR", 200),
        ("2.5", "EUR", 250),
        (" 2,05 ", "EUR", 205),
        ("150", "JPY", 150),
        ("1.5", "JPY", None),
        ("1.125", "KWD", 1125),
        ("1.125", "EUR", None),
        ("-1", "EUR", None),
        ("", "EUR", None),
        ("two", "EUR", None),
        ("٣", "EUR", None),
    ],
)
def test_amounts_are_read_as_people_type_them(text, currency, amount):
    assert money.parse(text, currency) == amount
