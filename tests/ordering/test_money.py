import pytest
from django.utils import translation

from ordering import money


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (0, "EUR", "€0.00"),
        (5, "EUR", "€0.05"),
        (890, "EUR", "€8.90"),
        (123_456_789, "EUR", "€1,234,567.89"),
        (-890, "GBP", "-£8.90"),
        (890, "JPY", "¥890"),
        (890, "KWD", "KWD 0.890"),
        (890, "CHF", "CHF 8.90"),
    ],
)
def test_amounts_are_shown_as_people_write_them(amount, currency, shown):
    assert money.display(amount, currency) == shown


def test_the_language_decides_about_points_and_commas():
    with translation.override("de"):
        assert money.display(123_456, "EUR") == "1.234,56\xa0€"


def test_a_line_costs_price_times_quantity():
    assert money.line_total(price=333, quantity=3) == 999
