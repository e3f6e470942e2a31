"""The web process as it is, but in a hurry to notice who may not watch any more."""

from portal.asgi import application
from portal.live import access

access.RECHECK = 0.3

__all__ = ["application"]
