"""Who may use the API at all; what they may do with it is judged by `pipelines.runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from teams.models import User
from teams.policy import Action, can

if TYPE_CHECKING:  # the views import their default permissions
    from rest_framework.views import APIView


class MemberOfATeam(BasePermission):
    message = "You are in no team. Ask an administrator to add you to one."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, User) and bool(can(request.user.as_actor(), Action.VIEW))
