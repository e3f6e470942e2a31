"""What can be chosen about the first menu, its combos, and its German texts. Frozen: migration 0006 adds it,
`seed_menu` adds what is missing of it.

Only columns that existed at migration 0006 may be named here. The real menu lives in the database.
"""

from __future__ import annotations

from typing import Any

GERMAN_CATEGORIES = {
    "burgers": "Burger",
    "combos": "Menüs",
    "sides": "Beilagen",
    "drinks": "Getränke",
    "desserts": "Süßes",
}
# slug: name, description
GERMAN_ITEMS = {
    "classic-smash": (
        "Classic Smash",
        "Zwei dünne, knusprig gebratene Rindfleisch-Pattys, Gurke, Zwiebel, Tomate, Haussoße, Sesam-Bun.",
    ),
    "cheese-royale": (
        "Cheese Royale",
        "Ein dickes Rindfleisch-Patty, zwei Scheiben schmelzender Cheddar, Salat, Tomate, Senfmayonnaise.",
    ),
    "bacon-stack": (
        "Bacon Stack",
        "Zwei Pattys, geräucherter Speck, Cheddar und Barbecuesoße. Bring beide Hände mit.",
    ),
    "crispy-chicken": (
        "Crispy Chicken",
        "Buttermilch-Hähnchen in lauter Kruste, knackiger Krautsalat und Chilimayonnaise.",
    ),
    "halloumi-garden": (
        "Halloumi-Garten",
        "Gegrillter Halloumi, geröstete Paprika, Rucola und Basilikumjoghurt im goldenen Brioche-Bun.",
    ),
    "black-bean": (
        "Black Bean",
        "Rauchiges Patty aus schwarzen Bohnen, Avocado, Rotkohl und Limettensalsa im schwarzen Bun.",
    ),
    "fries": ("Pommes", "Jeden Morgen hier geschnitten, zweimal frittiert, Meersalz."),
    "sweet-potato-fries": ("Süßkartoffelpommes", "Außen knusprig, innen weich, mit geräuchertem Paprika."),
    "onion-rings": ("Zwiebelringe", "Acht große Ringe im Pale-Ale-Teig."),
    "coleslaw": ("Krautsalat", "Weißkohl, Karotte und ein leichtes Senfdressing."),
    "cola": ("Craft-Cola", "Kolanuss, Zitrus und nicht zu süß. 0,33 l."),
    "lemonade": ("Minzlimonade", "Gepresste Zitronen, frische Minze, gestoßenes Eis. 0,4 l."),
    "strawberry-shake": ("Erdbeershake", "Erdbeeren, Vanilleeis und Milch, dick gemixt. 0,3 l."),
    "brownie": (
        "Schokobrownie",
        "Dunkel, saftig, mit gerösteten Haselnüssen. In kleinen Blechen gebacken: Was weg ist, ist weg.",
    ),
    "apple-pie": ("Apfeltasche", "Warmer Apfel und Zimt in knusprigem Teig. Jeden Morgen gebacken, von Hand gezählt."),
    "smash-meal": ("Smash-Menü", "Burger, Beilage und Getränk, zusammen günstiger. Nimm es so oder tausche aus."),
    "garden-meal": ("Garten-Menü", "Ein vegetarischer Burger, eine Beilage und etwas Kaltes. Hier fehlt nichts."),
    "box-for-two": (
        "Box für zwei",
        "Zwei Burger, zwei Getränke und eine große Beilage in der Mitte. Teilen freiwillig.",
    ),
}

# slug, name, German name, at least, at most, then options: slug, name, German name, price, allergens, preselected,
# stock.
Row = tuple[str, str, str, int, list[str], bool, int | None]
GROUPS: list[tuple[str, str, str, int, int, list[Row]]] = [
    (
        "heat",
        "How hot?",
        "Wie scharf?",
        1,
        1,
        [
            ("mild", "Mild", "Mild", 0, [], False, None),
            ("hot", "Hot", "Scharf", 0, [], False, None),
            ("reckless", "Reckless", "Leichtsinnig", 30, ["celery"], False, None),
        ],
    ),
    (
        "size",
        "Size",
        "Größe",
        1,
        1,
        [
            ("regular", "Regular", "Normal", 0, [], True, None),
            ("large", "Large", "Groß", 140, [], False, None),
        ],
    ),
    (
        "extras",
        "Extras",
        "Extras",
        0,
        4,
        [
            ("patty", "Extra patty", "Extra Patty", 290, [], False, None),
            ("bacon", "Smoked bacon", "Räucherspeck", 180, [], False, None),
            ("cheddar", "Cheddar", "Cheddar", 100, ["milk"], False, None),
            ("egg", "Fried egg", "Spiegelei", 150, ["eggs"], False, None),
            ("avocado", "Avocado", "Avocado", 170, [], False, 40),
            ("jalapenos", "Jalapeños", "Jalapeños", 60, ["sulphites"], False, None),
        ],
    ),
    (
        "garden-extras",
        "Extras",
        "Extras",
        0,
        3,
        [
            ("avocado", "Avocado", "Avocado", 170, [], False, 40),
            ("pepper", "Roasted pepper", "Geröstete Paprika", 90, [], False, None),
            ("jalapenos", "Jalapeños", "Jalapeños", 60, ["sulphites"], False, None),
        ],
    ),
    (
        "without",
        "Leave out",
        "Weglassen",
        0,
        4,
        [
            ("onion", "No onion", "Ohne Zwiebel", 0, [], False, None),
            ("tomato", "No tomato", "Ohne Tomate", 0, [], False, None),
            ("salad", "No salad", "Ohne Salat", 0, [], False, None),
            ("sauce", "No sauce", "Ohne Soße", 0, [], False, None),
        ],
    ),
    (
        "dips",
        "Dips",
        "Dips",
        0,
        3,
        [
            ("ketchup", "Ketchup", "Ketchup", 50, ["celery"], False, None),
            ("mayonnaise", "Mayonnaise", "Mayonnaise", 50, ["eggs", "mustard"], False, None),
            ("house", "House sauce", "Haussoße", 70, ["eggs", "mustard"], False, None),
            ("aioli", "Vegan aioli", "Vegane Aioli", 70, ["soybeans"], False, None),
        ],
    ),
]
GROUPS_OF = {
    "classic-smash": ["extras", "without"],
    "cheese-royale": ["extras", "without"],
    "bacon-stack": ["extras", "without"],
    "crispy-chicken": ["heat", "extras", "without"],
    "halloumi-garden": ["garden-extras", "without"],
    "black-bean": ["garden-extras", "without"],
    "fries": ["size", "dips"],
    "sweet-potato-fries": ["size", "dips"],
    "onion-rings": ["dips"],
    "smash-meal": ["extras", "without", "dips"],
    "garden-meal": ["garden-extras", "without", "dips"],
    "box-for-two": ["dips"],
}

Choices = list[tuple[str, int]]  # item, extra price; the first is preselected
_SIDES: Choices = [("fries", 0), ("sweet-potato-fries", 70), ("onion-rings", 50), ("coleslaw", 0)]
_DRINKS: Choices = [("cola", 0), ("lemonade", 50), ("strawberry-shake", 180)]
_BURGERS: Choices = [("classic-smash", 0), ("cheese-royale", 100), ("bacon-stack", 300), ("black-bean", 50)]
_GREEN: Choices = [("halloumi-garden", 0), ("black-bean", 0)]
# slug, name, description, price, diets, parts: slug, name, German name, choices.
COMBOS: list[tuple[str, str, str, int, list[str], list[tuple[str, str, str, Choices]]]] = [
    (
        "smash-meal",
        "Smash Meal",
        "A burger, a side and a drink, for less than one by one. Take it as it is, or swap.",
        1390,
        [],
        [
            ("burger", "Burger", "Burger", _BURGERS),
            ("side", "Side", "Beilage", _SIDES),
            ("drink", "Drink", "Getränk", _DRINKS),
        ],
    ),
    (
        "garden-meal",
        "Garden Meal",
        "A meatless burger, a side and something cold. Nothing is missing here.",
        1420,
        ["vegetarian"],
        [
            ("burger", "Burger", "Burger", _GREEN),
            ("side", "Side", "Beilage", _SIDES),
            ("drink", "Drink", "Getränk", _DRINKS),
        ],
    ),
    (
        "box-for-two",
        "Box for Two",
        "Two burgers, two drinks and one side in the middle. Sharing is up to you.",
        2690,
        [],
        [
            ("first-burger", "First burger", "Erster Burger", _BURGERS),
            ("second-burger", "Second burger", "Zweiter Burger", _BURGERS),
            ("side", "Side", "Beilage", _SIDES),
            ("first-drink", "First drink", "Erstes Getränk", _DRINKS),
            ("second-drink", "Second drink", "Zweites Getränk", _DRINKS),
        ],
    ),
]


def add_choices(model: Any) -> int:
    """Add what is missing, by slug, of groups and combos; leave alone what is there, because staff may have changed it.

    `model(name)` gives the manager of a model, of today's or of a migration's. Returns how many groups and combos were
    added.
    """
    items = {item.slug: item for item in model("MenuItem").all()}
    added = _add_groups(model, items) + _add_combos(model, items)
    _add_german(model)
    return added


def _add_groups(model: Any, items: dict[str, Any]) -> int:
    added = 0
    for position, (slug, name, german, minimum, maximum, options) in enumerate(GROUPS):
        group, created = model("OptionGroup").get_or_create(
            slug=slug,
            defaults={
                "name": name,
                "minimum": minimum,
                "maximum": maximum,
                "position": position,
                "translations": _german(german),
            },
        )
        if not created:
            continue
        added += 1
        for place, (option, words, other, price, allergens, preselected, stock) in enumerate(options):
            model("Option").create(
                group=group,
                slug=option,
                name=words,
                price=price,
                allergens=allergens,
                preselected=preselected,
                stock=stock,
                position=place,
                translations=_german(other),
            )
        for item in (items[of] for of, groups in GROUPS_OF.items() if slug in groups and of in items):
            item.option_groups.add(group)
    return added


def _add_combos(model: Any, items: dict[str, Any]) -> int:
    category, _ = model("Category").get_or_create(slug="combos", defaults={"name": "Combos", "position": 0})
    groups = {group.slug: group for group in model("OptionGroup").all()}
    added = 0
    for position, (slug, name, description, price, diets, parts) in enumerate(COMBOS):
        if slug in items:
            continue
        combo = model("MenuItem").create(
            category=category,
            slug=slug,
            name=name,
            description=description,
            price=price,
            diets=diets,
            picture=f"ordering/pictures/{slug}.svg",
            position=position,
        )
        combo.option_groups.add(*(groups[group] for group in GROUPS_OF[slug] if group in groups))
        for place, (part_slug, part_name, german, choices) in enumerate(parts):
            part = model("ComboPart").create(
                combo=combo, slug=part_slug, name=part_name, position=place, translations=_german(german)
            )
            for order, (item, extra) in enumerate(choices):
                if item in items:
                    model("ComboChoice").create(
                        part=part, item=items[item], price=extra, preselected=order == 0, position=order
                    )
        added += 1
    return added


def _add_german(model: Any) -> None:
    for category in model("Category").filter(slug__in=GERMAN_CATEGORIES, translations={}):
        category.translations = _german(GERMAN_CATEGORIES[category.slug])
        category.save(update_fields=["translations"])
    for item in model("MenuItem").filter(slug__in=GERMAN_ITEMS, translations={}):
        item.translations = _german(*GERMAN_ITEMS[item.slug])
        item.save(update_fields=["translations"])


def _german(name: str, description: str = "") -> dict[str, dict[str, str]]:
    texts = {"name": name} | ({"description": description} if description else {})
    return {"de": texts}
