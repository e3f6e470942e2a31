"""Collect the shop's static files and error pages: python -m ordering.site.build_frontend OUT_DIR

    OUT_DIR/static/   files under hashed names, gzipped copies beside them, and staticfiles.json, the names'
    manifest OUT_DIR/errors/   404.html, 502.html, 503.html: pages that need nothing else

The same tree gives the same bytes. The frontend serves all of it; the backend needs `static/` to name the
files.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

ORDERING = Path(__file__).resolve().parent.parent
ERRORS = (404, 502, 503)
LANGUAGES = ("en", "de")
ADMIN = Path(*django.__path__).resolve() / "contrib" / "admin"


def build(out: Path) -> int:
    """Make OUT_DIR anew; what was in its `static` and `errors` is replaced. Returns the number of files."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".building-") as folder:
        fresh = Path(folder)
        _configure(fresh / "static")
        call_command("collectstatic", interactive=False, verbosity=0)
        _sort_manifest(fresh / "static" / "staticfiles.json")
        _write_error_pages(fresh / "errors")
        for name in ("static", "errors"):
            shutil.rmtree(out / name, ignore_errors=True)
            (fresh / name).rename(out / name)
    return sum(path.is_file() for name in ("static", "errors") for path in (out / name).rglob("*"))


def _configure(static: Path) -> None:
    settings.configure(
        INSTALLED_APPS=["django.contrib.staticfiles"],
        STATICFILES_DIRS=[ORDERING / "static", ADMIN / "static"],
        LANGUAGE_CODE=LANGUAGES[0],
        LOCALE_PATHS=[ORDERING / "locale"],
        STATIC_URL="/static/",
        STATIC_ROOT=static,
        STORAGES={"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}},
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [ORDERING / "site" / "templates"],
            }
        ],
    )
    django.setup()


def _sort_manifest(path: Path) -> None:
    """Files are collected in the order in which the file system lists them, which differs between
    machines."""
    manifest = json.loads(path.read_text())
    manifest["paths"] = dict(sorted(manifest["paths"].items()))
    path.write_text(json.dumps(manifest, indent=1) + "\n")


def _write_error_pages(folder: Path) -> None:
    folder.mkdir()
    css = (ORDERING / "static" / "ordering" / "shop.css").read_text()
    tokens = re.search(r":root \{.*?\n\}\n", css, re.DOTALL)
    if tokens is None:
        raise SystemExit("shop.css has no :root block, which the error pages take their colours from.")
    art = (ORDERING / "static" / "ordering" / "burger.svg").read_text()
    for status in ERRORS:
        # A file cannot know who reads it, so it says everything in each language.
        said = [_said(status, language) for language in LANGUAGES]
        context = {"status": status, "said": said, "tokens": tokens[0], "art": art}
        page = render_to_string("site/error_page.html", context)
        (folder / f"{status}.html").write_text(page)


def _said(status: int, language: str) -> dict[str, str]:
    with translation.override(language):
        title, text = {
            404: (_("Nothing on this plate"), _("There is no page at this address. The burgers are where they were.")),
            502: (_("The kitchen is changing shifts"), _("We are back in a moment. What you ordered is safe.")),
            503: (_("One moment, please"), _("The shop is busy or being renewed. Try again in a few seconds.")),
        }[status]
        todo = _("To the menu") if status == 404 else _("Try again")
    return {"language": language, "title": title, "text": text, "todo": todo}


def main() -> None:
    parser = argparse.ArgumentParser(description="Collect the shop's static files and error pages.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    out = parser.parse_args().out
    print(f"{build(out)} files in {out}")


if __name__ == "__main__":
    main()
