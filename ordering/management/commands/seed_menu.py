from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from ordering.first_menu import add_first_menu
from ordering.models import Category, MenuItem


class Command(BaseCommand):
    help = "Add what the menu lacks of the first menu. Safe to repeat: items that are there stay as they are."

    @transaction.atomic
    def handle(self, *_args: Any, **_options: Any) -> None:
        added = add_first_menu(categories=Category.objects, items=MenuItem.objects)
        self.stdout.write(f"{added} items added; the menu has {MenuItem.objects.count()}.")
