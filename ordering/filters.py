"""Which dishes a visitor wants to see: those for a diet, and those without an allergen. Pure but for its words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from ordering import food


@dataclass(frozen=True, slots=True)
class Filter:
    """`diets` that a dish has to suit and `without`: allergens that it must not hold."""

    diets: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.diets or self.without)

    def keeps(self, diets: Iterable[str], allergens: Iterable[str]) -> bool:
        return self.diets <= set(diets) and self.without.isdisjoint(allergens)

    @property
    def query(self) -> str:
        """As an address has it: "?diet=vegan&without=milk", the same for equal filters."""
        pairs = [("diet", code) for code in food.DIETS if code in self.diets]
        pairs += [("without", code) for code in food.ALLERGENS if code in self.without]
        return f"?{urlencode(pairs)}" if pairs else ""

    def toggled(self, diet: str) -> Filter:
        return Filter(self.diets ^ {diet}, self.without)


def parse(diets: Iterable[str], without: Iterable[str]) -> Filter:
    """The filter of an address; what is not known is left out."""
    return Filter(frozenset(food.DIETS.keys() & set(diets)), frozenset(food.ALLERGENS.keys() & set(without)))
