"""The test provider. It moves no money; what it "does" stands in a book of its own, which it writes apart from the
shop's transactions, as a real one would. The card that is chosen says what happens."""

from __future__ import annotations

import time

from django.conf import settings
from django.db.models import F
from django.utils.translation import gettext as _

from ordering.models import SandboxEntry
from ordering.payments.providers import Answer, ProviderTimeoutError, Source

DONE, DECLINED, VOIDED = "done", "declined", "voided"


class Sandbox:
    """A provider, see `providers.Provider`."""

    def sources(self) -> list[Source]:
        return [
            Source("approve", _("Test card that is approved")),
            Source("decline", _("Test card that is declined")),
            Source("timeout", _("Test card whose payment never arrives")),
            Source("done-timeout", _("Test card that is charged, but whose answer is lost")),
        ]

    def charge(self, *, key: str, amount: int, currency: str, source: str) -> Answer:
        if source == "timeout" and not SandboxEntry.objects.filter(pk=key).exists():
            raise ProviderTimeoutError("The request was lost on its way.")
        state = DECLINED if source == "decline" else DONE
        entry, new = self._enter(key, kind="charge", state=state, amount=amount, currency=currency)
        # As long as a real one takes: here a server is killed between the deed and its answer.
        time.sleep(getattr(settings, "SHOP_SANDBOX_DELAY", 0.0))
        if source == "done-timeout" and new:
            raise ProviderTimeoutError("The answer was lost on its way.")
        return _answer(entry)

    def refund(self, *, key: str, charge: str, amount: int, currency: str) -> Answer:
        taken = SandboxEntry.objects.filter(pk=charge, kind="charge", state=DONE).first()
        if taken is None or amount > taken.amount:
            return Answer(done=False, reason=_("Nothing was taken that could be given back."))
        entry, _new = self._enter(key, kind="refund", state=DONE, amount=amount, currency=currency, charge=charge)
        return _answer(entry)

    def look_up(self, *, key: str) -> Answer | None:
        entry = SandboxEntry.objects.filter(pk=key).first()
        return _answer(entry) if entry else None

    def void(self, *, key: str) -> Answer:
        entry, _new = self._enter(key, kind="charge", state=VOIDED, amount=0, currency="")
        return _answer(entry)

    def _enter(self, key: str, **values: object) -> tuple[SandboxEntry, bool]:
        entry, new = SandboxEntry.objects.get_or_create(pk=key, defaults=values)
        if not new:
            SandboxEntry.objects.filter(pk=key).update(asked=F("asked") + 1)
        return entry, new


def _answer(entry: SandboxEntry) -> Answer:
    reasons = {DECLINED: _("The card was declined."), VOIDED: _("The payment was given up.")}
    return Answer(done=entry.state == DONE, reference=entry.key[:12], reason=reasons.get(entry.state, ""))
