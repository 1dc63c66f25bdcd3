"""Orders given items without the model: as the published list does, then by their sales."""

from collections.abc import Sequence

from models.recommenders.explanations.sentences import NONE
from serving.answers.answer import Entry, Listing, Source


def ranked_without_model(
    items: Sequence[str], table: Listing | None, popular: Listing | None
) -> tuple[Source, Listing]:
    """Return the source of the order, and the items in it; items that neither list holds keep their order."""
    known: dict[str, Entry] = {}
    for listing in (table, popular):
        for entry in () if listing is None else listing.entries:
            known.setdefault(entry.item_id, entry)
    place = {item: at for at, item in enumerate(known)}
    ordered = sorted(dict.fromkeys(items), key=lambda item: place.get(item, len(place)))
    entries = tuple(known.get(item, Entry(item, 0.0, NONE)) for item in ordered)
    if table is not None:
        return "table", Listing(entries, table.model_version, table.batch_id, personal=True, degraded=True)
    return "popular", Listing(entries, None if popular is None else popular.model_version, degraded=True)
