"""The shop's texts: every one that code and templates mark, and their translations.

python -m tests.ordering.messages brings ordering/locale up to date: texts that are new come in untranslated, those that
are gone go out, and what the server reads (.mo) is compiled. It needs no gettext: Babel writes both files.
"""

from __future__ import annotations

import ast
import datetime as dt
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent.parent
SHOP = ROOT / "ordering"
LANGUAGES = ["de"]
# What marks a text, and which of its arguments are: context, singular, plural.
MARKS = {
    "_": "s", "gettext": "s", "gettext_lazy": "s",
    "ngettext": "sp", "ngettext_lazy": "sp",
    "pgettext": "cs", "pgettext_lazy": "cs",
}  # fmt: skip
Text = tuple[str | None, str | tuple[str, str]]  # context, text or (singular, plural)


def catalogue_path(language: str) -> Path:
    return SHOP / "locale" / language / "LC_MESSAGES" / "django.po"


def texts() -> dict[Text, list[str]]:
    """Each text with the files that hold it, in the order of the files."""
    found: dict[Text, list[str]] = {}
    for path in sorted(SHOP.rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and "/migrations/" not in name:
            marked = _of_python(path.read_text())
        elif path.suffix in (".html", ".txt") and "/templates/" in name:
            marked = _of_template(path.read_text(), name)
        else:
            continue
        for text in marked:
            files = found.setdefault(text, [])
            if name not in files:
                files.append(name)
    return found


def _of_python(source: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        parts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        roles = MARKS.get(name, "")
        if roles and len(parts) >= len(roles):
            by_role = dict(zip(roles, parts, strict=False))
            yield by_role.get("c"), (by_role["s"], by_role["p"]) if "p" in by_role else by_role["s"]


def _of_template(source: str, name: str) -> Iterator[Text]:
    from django.template import Engine
    from django.templatetags.i18n import BlockTranslateNode, TranslateNode

    engine = Engine(
        libraries={
            "i18n": "django.templatetags.i18n",
            "l10n": "django.templatetags.l10n",
            "static": "django.templatetags.static",
            "shop": "ordering.templatetags.shop",
            "tz": "django.templatetags.tz",
        }
    )
    template = engine.from_string(source)
    for node in template.nodelist.get_nodes_by_type(TranslateNode):
        expression = node.filter_expression
        context = node.message_context
        yield (context.resolve({}) if context else None), str(expression.var.literal)
    for node in template.nodelist.get_nodes_by_type(BlockTranslateNode):
        context = node.message_context
        singular, _names = node.render_token_list(node.singular)
        singular = _trimmed(node, singular)
        if node.plural:
            plural, _names = node.render_token_list(node.plural)
            yield (context.resolve({}) if context else None), (singular, _trimmed(node, plural))
        else:
            yield (context.resolve({}) if context else None), singular


def _trimmed(node: object, text: str) -> str:
    from django.utils.translation import trim_whitespace

    return trim_whitespace(text) if getattr(node, "trimmed", False) else text


def read(language: str) -> Catalog:
    path = catalogue_path(language)
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def updated(language: str) -> Catalog:
    """The language's catalogue with just the texts of today, sorted."""
    known = read(language)
    fresh = Catalog(locale=language, fuzzy=False, header_comment="# The shop's texts.")
    for (context, text), files in sorted(texts().items(), key=lambda pair: (str(pair[0][1]), str(pair[0][0]))):
        old = known.get(text[0] if isinstance(text, tuple) else text, context=context)
        message = fresh.add(text, old.string if old else None, locations=[(file, 0) for file in files], context=context)
        message.flags |= {"python-format"} if message.python_format else set()
    return fresh


def missing(catalog: Catalog) -> list[str]:
    """The texts without a translation."""
    return [
        str(message.id)
        for message in catalog
        if message.id and not all(message.string if isinstance(message.string, tuple) else [message.string])
    ]


def as_po(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    write_po(out, catalog, width=110, omit_header=False, include_lineno=False)
    # When it was made would make each run another, and of the rest nothing is true here.
    unwanted = (b'"Report-', b'"Last-', b'"Language-Team', b'"Project-Id', b'"Generated-')
    lines = out.getvalue().split(b"\n")
    return b"\n".join(line for line in lines if b"-Date: " not in line and not line.startswith(unwanted))


def as_mo(catalog: Catalog) -> bytes:
    """What `write_mo` makes of the written catalogue, so that .mo follows from .po alone."""
    out = io.BytesIO()
    written = read_po(io.BytesIO(as_po(catalog)), locale=catalog.locale)
    written.creation_date = written.revision_date = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    write_mo(out, written)
    return out.getvalue()


def main() -> int:
    for language in LANGUAGES:
        catalog = updated(language)
        path = catalogue_path(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_po(catalog))
        path.with_suffix(".mo").write_bytes(as_mo(catalog))
        print(f"{path.relative_to(ROOT)}: {len(catalog)} texts")
        for text in missing(catalog):
            print(f"  not translated: {text}")
        if missing(catalog):
            print("Write them into the .po file, then run this again: make messages")
            return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ordering.site.testing")
    import django

    django.setup()
    sys.exit(main())
