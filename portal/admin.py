"""What administrators do not change by hand: tokens and queued tasks have doors of their own, groups mean nothing."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import Group
from django_q.models import Failure, OrmQ, Schedule, Success
from knox.models import AuthToken

for _model in (AuthToken, Group, Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)
