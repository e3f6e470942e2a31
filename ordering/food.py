"""What has to be said about food: the 14 allergens of Regulation (EU) 1169/2011, Annex II, and diets."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

ALLERGENS = {
    "gluten": gettext_lazy("Cereals containing gluten"),
    "crustaceans": gettext_lazy("Crustaceans"),
    "eggs": gettext_lazy("Eggs"),
    "fish": gettext_lazy("Fish"),
    "peanuts": gettext_lazy("Peanuts"),
    "soybeans": gettext_lazy("Soybeans"),
    "milk": gettext_lazy("Milk"),
    "nuts": gettext_lazy("Nuts"),
    "celery": gettext_lazy("Celery"),
    "mustard": gettext_lazy("Mustard"),
    "sesame": gettext_lazy("Sesame"),
    "sulphites": gettext_lazy("Sulphites"),
    "lupin": gettext_lazy("Lupin"),
    "molluscs": gettext_lazy("Molluscs"),
}
DIETS = {
    "vegetarian": gettext_lazy("Vegetarian"),
    "vegan": gettext_lazy("Vegan"),
    "spicy": gettext_lazy("Spicy"),
}


def validate_allergens(codes: Iterable[str]) -> None:
    _validate(codes, ALLERGENS)


def validate_diets(codes: Iterable[str]) -> None:
    _validate(codes, DIETS)


def validate_translations(texts: object) -> None:
    """{language: {field: text}}, such as {"de": {"name": "Pommes"}}."""
    fits = isinstance(texts, dict) and all(
        isinstance(language, str)
        and isinstance(fields, dict)
        and all(isinstance(text, str) for text in fields.values())
        for language, fields in texts.items()
    )
    if not fits:
        raise ValidationError(
            _("Expected texts by language and field, for example %(example)s.")
            % {"example": '{"de": {"name": "Pommes"}}'}
        )


def _validate(codes: object, known: dict) -> None:
    if not isinstance(codes, list):
        raise ValidationError(_("Expected a list of codes, for example %(example)s.") % {"example": '["milk"]'})
    if unknown := [str(code) for code in codes if code not in known]:
        raise ValidationError(
            _("Unknown: %(unknown)s. Known codes are %(known)s.")
            % {"unknown": ", ".join(unknown), "known": ", ".join(known)}
        )
