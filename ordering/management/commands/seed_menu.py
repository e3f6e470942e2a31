from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import transaction

from ordering.first_menu import add_first_menu
from ordering.menu_choices import add_choices
from ordering.models import Category, MenuItem


class Command(BaseCommand):
    help = "Add what the menu lacks of the first menu. Safe to repeat: items that are there stay as they are."

    @transaction.atomic
    def handle(self, *_args: Any, **_options: Any) -> None:
        before = MenuItem.objects.count()
        add_first_menu(categories=Category.objects, items=MenuItem.objects)
        add_choices(lambda name: apps.get_model("ordering", name).objects)
        total = MenuItem.objects.count()
        self.stdout.write(f"{total - before} items added; the menu has {total}.")
