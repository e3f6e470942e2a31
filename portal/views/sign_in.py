"""Signing in, slowed down for those who guess."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.auth import forms, views
from django.core.cache import cache
from django.core.exceptions import ValidationError

from teams import audit
from teams.models import User

LIMIT = 10
PERIOD = 300  # seconds


class SignInForm(forms.AuthenticationForm):
    """Counts what was tried in vain, by name and address together, so that nobody locks out somebody else."""

    error_messages = forms.AuthenticationForm.error_messages | {
        "invalid_login": "That name and password do not belong together. Check both; capitals matter.",
    }

    def clean(self) -> dict[str, Any]:
        key = self._key()
        if cache.get(key, 0) >= LIMIT:
            raise ValidationError(
                f"Too many attempts for this name. Wait {PERIOD // 60} minutes, then try again.", code="slow_down"
            )
        try:
            cleaned = super().clean()
        except ValidationError:
            cache.add(key, 0, PERIOD)
            self._record(cache.incr(key))
            raise
        cache.delete(key)
        return cleaned

    def _record(self, tries: int) -> None:
        """Who does not exist is not recorded: what was typed may be a password."""
        user = User.objects.filter(username=self.cleaned_data.get("username", "")).first()
        if user is not None:
            why = (
                "wrong password" if tries < LIMIT else f"wrong password; refused for {PERIOD // 60} minutes from now on"
            )
            target = f"user:{user.username}"
            audit.write(actor=user.username, action="sign-in", target=target, allowed=False, reason=why)

    def _key(self) -> str:
        name = str(self.cleaned_data.get("username", "")).lower()
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        return "sign-in-" + hashlib.sha256(f"{name}\0{address}".encode()).hexdigest()


class SignIn(views.LoginView):
    template_name = "portal/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True
