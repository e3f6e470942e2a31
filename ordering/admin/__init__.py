"""What staff with rights change of the shop, in Django's admin: served alone and in the portal."""

from ordering.admin import catalogue, shop

__all__ = ["catalogue", "shop"]
