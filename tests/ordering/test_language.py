"""English and German: every text is translated, and a visitor reads the language that they chose."""

import re

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import reverse
from django.utils import translation

from ordering import money
from ordering.language import ShopLanguage
from tests.ordering import messages

MENU = "ordering:menu"
UPDATE = "make messages brings them up to date"


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_the_catalogue_holds_every_text_translated_and_compiled(language):
    catalog = messages.updated(language)
    path = messages.catalogue_path(language)
    assert messages.missing(catalog) == [], f"{UPDATE}, then write them into {path}"
    assert path.read_bytes() == messages.as_po(catalog), UPDATE
    assert path.with_suffix(".mo").read_bytes() == messages.as_mo(catalog), UPDATE


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_translations_keep_their_placeholders(language):
    for message in messages.read(language):
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        wanted = {hole for text in ids for hole in re.findall(r"%\(\w+\)[sd]|\{\w+\}", text)}
        for text in message.string if isinstance(message.string, tuple) else (message.string,):
            assert message.id == "" or set(re.findall(r"%\(\w+\)[sd]|\{\w+\}", text)) <= wanted, message.id


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_no_other_applications_words_take_the_place_of_the_shops(language):
    """Catalogues are merged, and Django's own come first: the admin says "-" for "None" in German."""
    with translation.override(language):
        said = {
            message.id: translation.pgettext(message.context, message.id)
            if message.context
            else translation.gettext(message.id)
            for message in messages.read(language)
            if message.id and isinstance(message.id, str)
        }
    ours = {message.id: message.string for message in messages.read(language)}
    assert {text: found for text, found in said.items() if found != ours[text]} == {}


@pytest.mark.parametrize(
    ("language", "amount", "currency", "expected"),
    [
        ("en", 123456, "EUR", "€1,234.56"),
        ("de", 123456, "EUR", "1.234,56\u00a0€"),
        ("de", -890, "EUR", "-8,90\u00a0€"),
        ("de", 500, "JPY", "500\u00a0¥"),
    ],
)
def test_money_is_written_as_the_language_does(language, amount, currency, expected):
    with translation.override(language):
        assert money.display(amount, currency) == expected


def test_nobody_is_sent_to_another_site():
    middleware = ShopLanguage(lambda _: HttpResponse())
    request = RequestFactory().get(reverse(MENU), {"language": "de"})
    request.path = "//evil.example/"
    assert middleware._chosen(request)["Location"] == "/%2Fevil.example/"


@pytest.mark.django_db
class TestVisitors:
    def test_the_browser_says_which_language(self, client, menu):
        page = client.get(reverse(MENU), headers={"Accept-Language": "fr, de-AT;q=0.8, en;q=0.5"})
        html = page.content.decode()
        assert '<html lang="de">' in html
        assert "Süßkartoffelpommes" in html
        assert "4,50\u00a0€" in html
        assert "Glutenhaltiges Getreide" in html
        assert page["Content-Language"] == "de"
        assert {"Accept-Language", "Cookie"} <= set(re.split(", *", page["Vary"]))

    @pytest.mark.parametrize("asked", ["", "fr", "x" * 5000, "de;q=0", "*"])
    def test_what_is_not_spoken_is_answered_in_the_shops_own(self, client, menu, asked):
        assert '<html lang="en">' in client.get(reverse(MENU), headers={"Accept-Language": asked}).content.decode()

    def test_the_choice_is_a_link_and_is_remembered(self, client, menu):
        page = client.get(reverse(MENU), {"diet": "vegan"}).content.decode()
        link = re.search(r'class="language" href="([^"]*)"', page)[1].replace("&amp;", "&")
        assert link == "?diet=vegan&language=de"
        chosen = client.get(reverse(MENU) + link)
        assert chosen["Location"] == reverse(MENU) + "?diet=vegan"
        assert '<html lang="de">' in client.get(chosen["Location"]).content.decode()
        assert "Dein Warenkorb" in client.get(reverse("ordering:cart")).content.decode()
        client.get(reverse("ordering:cart"), {"language": "en"})
        assert "Your cart" in client.get(reverse("ordering:cart")).content.decode()

    def test_an_unknown_choice_changes_nothing(self, client, menu):
        assert client.get(reverse(MENU), {"language": "xx"}).status_code == 200
        assert "shop_language" not in str(client.cookies)

    def test_problems_are_said_in_the_visitors_language(self, client, menu):
        client.get(reverse(MENU), {"language": "de"})
        refused = client.post(reverse("ordering:change-cart"), {"set": "brownie:9"})
        assert "Nur noch 5 Schokobrownie sind da. Nimm weniger." in refused.content.decode()

    def test_an_order_is_read_in_the_visitors_language(self, client, menu):
        client.get(reverse(MENU), {"language": "de"})
        client.post(reverse("ordering:change-cart"), {"add": "fries"})
        page = client.get(reverse("ordering:checkout")).content.decode()
        assert "Pommes" in page
        assert "Normal" in page
        assert "3,80\u00a0€" in page
