"""Where the kitchen and the admin sign in, from outside of their own network."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse

from ordering import guessing
from ordering.access import client_address


class StaffSignIn(LoginView):
    """After a few wrong passwords for a name none is looked at for a minute, and nothing is hashed."""

    template_name = "site/sign_in.html"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if guessing.is_held(*self._who()):
            context = self.get_context_data(form=AuthenticationForm(request), held=True)
            return self.render_to_response(context, status=429)
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        guessing.failed(*self._who())
        return super().form_invalid(form)

    def _who(self) -> tuple[str, str]:
        return client_address(self.request), "staff:" + self.request.POST.get("username", "").strip().lower()[:150]
