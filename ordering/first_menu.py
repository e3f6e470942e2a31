"""The menu that a new shop opens with. Frozen: migration 0002 adds it, `seed_menu` adds what is missing of
it.

Only columns that existed at migration 0002 may be named here. The real menu lives in the database.
"""

from __future__ import annotations

from typing import Any

# slug, name, then its items: slug, name, description, price in minor units, stock (None: not counted),
# allergens, diets.
FIRST_MENU: list[tuple[str, str, list[tuple[str, str, str, int, int | None, list[str], list[str]]]]] = [
    (
        "burgers",
        "Burgers",
        [
            (
                "classic-smash",
                "Classic Smash",
                "Two thin, crisp-edged beef patties, pickles, onion, tomato, house sauce, sesame bun.",
                890,
                None,
                ["gluten", "eggs", "milk", "mustard", "sesame"],
                [],
            ),
            (
                "cheese-royale",
                "Cheese Royale",
                "A thick beef patty, two slices of melting cheddar, salad, tomato, mustard mayonnaise.",
                990,
                None,
                ["gluten", "eggs", "milk", "mustard", "sesame"],
                [],
            ),
            (
                "bacon-stack",
                "Bacon Stack",
                "Two patties, smoked bacon, cheddar and barbecue sauce. Bring both hands.",
                1190,
                None,
                ["gluten", "eggs", "milk", "mustard", "celery"],
                [],
            ),
            (
                "crispy-chicken",
                "Crispy Chicken",
                "Buttermilk chicken in a loud crust, crunchy slaw and chilli mayonnaise.",
                950,
                None,
                ["gluten", "eggs", "milk", "mustard", "celery"],
                ["spicy"],
            ),
            (
                "halloumi-garden",
                "Halloumi Garden",
                "Grilled halloumi, roasted pepper, rocket and basil yoghurt in a golden brioche bun.",
                940,
                None,
                ["gluten", "eggs", "milk", "sesame"],
                ["vegetarian"],
            ),
            (
                "black-bean",
                "Black Bean",
                "Smoky black bean patty, avocado, red cabbage and lime salsa in a charcoal bun.",
                920,
                None,
                ["gluten", "soybeans", "sesame"],
                ["vegetarian", "vegan"],
            ),
        ],
    ),
    (
        "sides",
        "Sides",
        [
            (
                "fries",
                "Fries",
                "Cut here every morning, fried twice, sea salt.",
                380,
                None,
                [],
                ["vegetarian", "vegan"],
            ),
            (
                "sweet-potato-fries",
                "Sweet Potato Fries",
                "Crisp outside, soft inside, with smoked paprika.",
                450,
                None,
                [],
                ["vegetarian", "vegan"],
            ),
            (
                "onion-rings",
                "Onion Rings",
                "Eight big rings in a pale ale batter.",
                420,
                None,
                ["gluten", "sulphites"],
                ["vegetarian", "vegan"],
            ),
            (
                "coleslaw",
                "Coleslaw",
                "White cabbage, carrot and a light mustard dressing.",
                320,
                None,
                ["eggs", "mustard"],
                ["vegetarian"],
            ),
        ],
    ),
    (
        "drinks",
        "Drinks",
        [
            (
                "cola",
                "Craft Cola",
                "Kola nut, citrus and not too sweet. 0.33 l.",
                310,
                None,
                [],
                ["vegetarian", "vegan"],
            ),
            (
                "lemonade",
                "Mint Lemonade",
                "Pressed lemons, fresh mint, crushed ice. 0.4 l.",
                360,
                None,
                [],
                ["vegetarian", "vegan"],
            ),
            (
                "strawberry-shake",
                "Strawberry Shake",
                "Strawberries, vanilla ice cream and milk, blended thick. 0.3 l.",
                490,
                None,
                ["milk"],
                ["vegetarian"],
            ),
        ],
    ),
    (
        "desserts",
        "Desserts",
        [
            (
                "brownie",
                "Chocolate Brownie",
                "Dark, fudgy, with roasted hazelnuts. Baked in small trays: when it is gone, it is gone.",
                420,
                24,
                ["gluten", "eggs", "milk", "nuts", "soybeans"],
                ["vegetarian"],
            ),
            (
                "apple-pie",
                "Apple Pie Pocket",
                "Warm apple and cinnamon in crisp pastry. Baked each morning, counted by hand.",
                350,
                30,
                ["gluten", "sulphites"],
                ["vegetarian", "vegan"],
            ),
        ],
    ),
]


def add_first_menu(*, categories: Any, items: Any) -> int:
    """Add what is missing, by slug; leave alone what is there, because staff may have changed it.

    `categories` and `items` are the managers of Category and MenuItem, of today's or of a migration's models.
    Returns how many items were added.
    """
    added = 0
    for category_position, (category_slug, category_name, rows) in enumerate(FIRST_MENU):
        category, _ = categories.get_or_create(
            slug=category_slug, defaults={"name": category_name, "position": category_position}
        )
        for position, (slug, name, description, price, stock, allergens, diets) in enumerate(rows):
            _, created = items.get_or_create(
                slug=slug,
                defaults={
                    "category": category,
                    "name": name,
                    "description": description,
                    "price": price,
                    "stock": stock,
                    "allergens": allergens,
                    "diets": diets,
                    "picture": f"ordering/pictures/{slug}.svg",
                    "position": position,
                },
            )
            added += created
    return added
