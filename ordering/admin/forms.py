"""Fields of the admin that speak as staff do: prices as 8.90, allergens as boxes to tick, texts by language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.conf.locale import LANG_INFO
from django.db import models
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ordering import conf, food, language, money


class MinorUnitsField(forms.DecimalField):
    """An amount that is typed as 8.90 or 8,90 and kept as 890."""

    def __init__(self, **options: Any) -> None:
        places = money.digits(conf.currency())
        options.setdefault("min_value", 0)
        super().__init__(max_digits=9, decimal_places=places, **options)
        self._one, self._smallest = 10**places, Decimal(1).scaleb(-places)

    def prepare_value(self, value: Any) -> Any:
        return (Decimal(value) / self._one).quantize(self._smallest) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        # A comma is what half of the world types; nobody types thousands here.
        return super().to_python(value.replace(",", ".") if isinstance(value, str) else value)

    def clean(self, value: Any) -> Any:
        amount = super().clean(value)
        return None if amount is None else int(amount * self._one)

    def has_changed(self, initial: Any, data: Any) -> bool:
        if isinstance(initial, int):
            initial = Decimal(initial) / self._one
        return super().has_changed(initial, data)


class CodesField(forms.MultipleChoiceField):
    """Boxes to tick, kept as a list of codes in the order in which they are known."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, known: Mapping[str, Any], **options: Any) -> None:
        super().__init__(choices=list(known.items()), required=False, **options)
        self._known = known

    def clean(self, value: Any) -> Any:
        ticked = set(super().clean(value))
        return [code for code in self._known if code in ticked]


class TranslatedForm(forms.ModelForm):
    """A form with a field for each text in each other language: `name_de`. They are kept in `translations`."""

    texts: tuple[str, ...] = ("name",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for code, field in self.translated():
            self.initial.setdefault(f"{field}_{code}", self.instance.translations.get(code, {}).get(field, ""))

    @classmethod
    def translated(cls) -> Iterable[tuple[str, str]]:
        return [(code, field) for code in conf.languages() if code != language.own() for field in cls.texts]

    def _post_clean(self) -> None:
        texts = {code: dict(fields) for code, fields in self.instance.translations.items()}
        for code, field in self.translated():
            # What was not touched stays as it is by now, whatever the form still says.
            if (name := f"{field}_{code}") in self.cleaned_data and name in self.changed_data:
                texts.setdefault(code, {})[field] = self.cleaned_data[name]
        self.instance.translations = {
            code: {field: text for field, text in fields.items() if text} for code, fields in texts.items()
        }
        super()._post_clean()  # type: ignore[misc]


def translated_form(model: type[models.Model], *texts: str) -> type[TranslatedForm]:
    """The form of a model whose texts are translated."""
    members: dict[str, Any] = {"texts": texts, "__module__": __name__}
    for code in conf.languages():
        for field in texts if code != language.own() else ():
            column = model._meta.get_field(field)
            # Translators: a field of a form and a language: "name in Deutsch".
            label = format_lazy(
                gettext_lazy("{field} in {language}"),
                field=getattr(column, "verbose_name", field),
                language=LANG_INFO[code]["name_local"],
            )
            members[f"{field}_{code}"] = forms.CharField(
                label=label,
                required=False,
                max_length=getattr(column, "max_length", None),
                show_hidden_initial=True,
            )
    return type(f"{model.__name__}Form", (TranslatedForm,), members)


def allergens_field() -> CodesField:
    return CodesField(food.ALLERGENS, label=_("allergens"), show_hidden_initial=True)


def diets_field() -> CodesField:
    return CodesField(food.DIETS, label=_("diets"), show_hidden_initial=True)
