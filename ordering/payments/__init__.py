"""Payments: what was agreed is written before a provider is asked, and asked for under one key however often.

    charge:  pending -> done       the order is received
                     -> declined   the order is canceled, and its food, slot and code are free again
    refund:  pending -> done
                     -> withdrawn  its order was taken up again before it began

Whatever happens in between (a timeout, a server that is killed), the row says what has to be found out, and
`reconcile` finds it out.
"""

from ordering.payments.providers import (
    PROVIDERS,
    Answer,
    Provider,
    ProviderTimeoutError,
    Source,
    provider_named,
    sources,
)

__all__ = ["PROVIDERS", "Answer", "Provider", "ProviderTimeoutError", "Source", "provider_named", "sources"]
