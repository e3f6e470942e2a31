"""Accounts of customers: past orders, one tap to order the same again. Nobody needs one to order.

Whoever is signed in has a history. Signing up is only possible where accounts are the shop's own (`conf.accounts`):
where the shop is mounted in a project whose users are a company's, nobody becomes one of them here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from ordering import cart as carts
from ordering import conf, guessing, selectors
from ordering.access import client_address, customer_of
from ordering.methods import post_only
from ordering.render import render_shop

# A page of history.
MAX_PAST = 30


def own_accounts(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not conf.accounts():
            raise Http404(_("Accounts are not this shop's business here."))
        return view(request, *args, **kwargs)

    return guarded


class SignUpForm(BaseUserCreationForm):
    """A name to sign in with is the e-mail address, so that nobody has to invent one."""

    email = forms.EmailField(label=gettext_lazy("E-mail"), max_length=150)
    first_name = forms.CharField(label=gettext_lazy("Your name"), max_length=60, required=False)

    class Meta:
        model = get_user_model()
        fields = ("email", "first_name")

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].strip().lower()
        if get_user_model().objects.filter(username=email).exists():
            raise forms.ValidationError(_("There is an account with this address already. Sign in instead."))
        return email

    def save(self, commit: bool = True) -> Any:
        self.instance.username = self.cleaned_data["email"]
        return super().save(commit)


@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "POST"])
@own_accounts
def sign_up(request: HttpRequest) -> HttpResponse:
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.save(), backend="django.contrib.auth.backends.ModelBackend")
        return HttpResponseRedirect(_next(request))
    return _page(request, "sign_up", form)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
@own_accounts
def sign_in(request: HttpRequest) -> HttpResponse:
    who = (client_address(request), request.POST.get("username", "").strip().lower()[:254])
    if request.method == "POST" and guessing.is_held(*who):  # and nothing is hashed
        unbound = AuthenticationForm(request)
        return _page(request, "sign_in", unbound, _("Too many tries. Wait a minute, then try again."), status=429)
    form = AuthenticationForm(request, data=_lowered(request) if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return HttpResponseRedirect(_next(request))
    problem = ""
    if request.method == "POST":
        guessing.failed(*who)
        problem = _("Address and password do not match, or the account is not active. Try again.")
    return _page(request, "sign_in", form, problem)


@post_only
@own_accounts
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    response = HttpResponseRedirect(reverse("ordering:menu"))
    basket = carts.load(request)
    basket.recent = []  # who comes next at this browser has not ordered that
    carts.save(response, basket, request=request)
    return response


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """The orders of whoever is signed in, the newest first."""
    user = customer_of(request)
    if user is None:
        if conf.accounts():
            return HttpResponseRedirect(f"{reverse('ordering:sign-in')}?next={reverse('ordering:account')}")
        raise Http404(_("Nobody is signed in."))
    past = selectors.orders_of(user.pk, limit=MAX_PAST)
    return render_shop(request, "ordering/account/history.html", {"past": past, "user_name": user.first_name})


def _lowered(request: HttpRequest) -> Any:
    posted = request.POST.copy()
    name = str(posted.get("username", ""))
    if "@" in name:
        posted["username"] = name.strip().lower()
    return posted


def _next(request: HttpRequest) -> str:
    """Where the visitor wanted to go, if that is here."""
    wanted = request.POST.get("next", "")
    here = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if wanted and here else reverse("ordering:account")


def _page(request: HttpRequest, name: str, form: Any, problem: str = "", status: int = 200) -> HttpResponse:
    context = {
        "form": form,
        "problem": problem,
        "next": request.POST.get("next", "") or request.GET.get("next", ""),
    }
    wrong = request.method == "POST" and status == 200
    return render_shop(request, f"ordering/account/{name}.html", context, status=422 if wrong else status)
