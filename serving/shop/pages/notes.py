"""Messages after an act of the visitor."""

from collections.abc import Mapping
from typing import Final

from serving.shop.visits.visit import Note

NOTES: Final[Mapping[Note, str]] = {
    "added": "It is in your basket.",
    "full": "Your basket is full. Remove a product first.",
    "removed": "It is no longer in your basket.",
    "bought": "Thank you! This is a demo: nothing was charged, and nothing will be delivered.",
    "hidden": "You will not see this product on any shelf again.",
    "hidden-here": "This browser does not show the product on any shelf again.",
    "agreed": "Your shelves become personal from now on. You can change that at any time under “Privacy”.",
    "refused": "Your shelves are those of everybody. The shop states nothing about you to the recommender.",
    "refused-here": "Your shelves are those of everybody. The recommender does not answer at the moment: it gets your "
    "refusal as soon as it does.",
    "signed-in": "You are signed in.",
    "signed-out": "You are signed out.",
}
