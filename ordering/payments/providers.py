"""What the shop asks of a payment provider. Another one is a class with these methods and a row in PROVIDERS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from django.utils.module_loading import import_string

from ordering import conf

PROVIDERS = {"sandbox": "ordering.payments.sandbox.Sandbox"}


class ProviderTimeoutError(Exception):
    """No answer came: what was asked for may have been done, or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a charge or a refund. `reference` is how the provider names it, `reason` why it was declined, in
    words for the customer."""

    done: bool
    reference: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a customer can pay with; `token` is what the form sends, and never a card's number."""

    token: str
    label: str


class Provider(Protocol):
    """Every method may raise ProviderTimeoutError, and may then be called again.

    A key stands for one charge or one refund for ever: with the same key the same thing is asked for, is done at most
    once, and has the same answer.
    """

    def sources(self) -> list[Source]:
        """What customers can choose from."""

    def charge(self, *, key: str, amount: int, currency: str, source: str) -> Answer:
        """Take an amount in minor units."""

    def refund(self, *, key: str, charge: str, amount: int, currency: str) -> Answer:
        """Give back what was taken under the key `charge`."""

    def look_up(self, *, key: str) -> Answer | None:
        """What became of this key; None where the provider has never heard of it."""

    def void(self, *, key: str) -> Answer:
        """See to it that nothing is taken under this key any more. An answer that is done means that it was too
        late."""


def provider_named(name: str) -> Provider:
    """Raises LookupError for a name that no provider has."""
    try:
        return import_string(PROVIDERS[name])()
    except KeyError:
        known = ", ".join(PROVIDERS)
        raise LookupError(f"No payment provider is called {name!r}; expected one of {known}.") from None


def sources() -> list[Source]:
    """What customers can pay with online; empty where they only pay at the counter."""
    name = conf.payment_provider()
    return provider_named(name).sources() if name else []
