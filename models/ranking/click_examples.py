"""What a click model learns from: labelled impressions, each with what was known before any of them was shown."""

from typing import Final

import narwhals as nw

from models.columns import BRAND, CATEGORY, ITEM_ID, POSITION, USER_KEY
from models.datasets.impression_labels import impressions
from models.datasets.labels import LABEL, LabelConfig
from models.features.expressions import Frame, Keep, as_is
from models.primitives.time import DAY

PLACE: Final = "place"
CLICKS_BY: Final[dict[str, list[str]]] = {
    "item_clicks": [ITEM_ID],
    "user_clicks": [USER_KEY],
    "category_clicks": [USER_KEY, CATEGORY],
    "brand_clicks": [USER_KEY, BRAND],
}
"""What is counted together: all clicks on the item, all clicks of the user, and the user's clicks on the item's
category and on its brand."""
COLUMNS: Final = (PLACE, *CLICKS_BY)
"""What `click_rows` adds for models to learn from."""

_LAST_PLACE: Final = 20
_EXPECTED: Final = "_expected"


def click_rows(
    events: Frame,
    items: Frame,
    start: int,
    end: int,
    config: LabelConfig,
    history_days: float = 90.0,
    prior_clicks: float = 3.0,
    keep: Keep = as_is,
) -> Frame:
    """`impressions` of [`start`, `end`) (epoch s) with `COLUMNS`, which look at the `history_days` before `start` only.

    `place` is the position as a word, `21+` after 20, since attention falls in no straight line. The others are
    log((clicks + prior) / (expected clicks + prior)): 0 for nobody knows or as expected, above 0 for clicked more than
    its positions explain (clicks over expected clicks, Zhang & Jones 2007). Without them an item shown first looks
    good because it was shown first.
    """
    kinds = items.select(ITEM_ID, CATEGORY, BRAND)
    since = start - round(history_days * DAY)
    shown = keep(lambda: impressions(events, since, start, config).with_columns(_place()), f"past {start}")
    usual = shown.group_by(PLACE).agg(nw.col(LABEL).mean().alias(_EXPECTED))
    past = keep(
        lambda: shown.join(usual, on=PLACE, how="left").join(kinds, on=ITEM_ID, how="left"), f"expected {start}"
    )
    rows = impressions(events, start, end, config).with_columns(_place()).join(kinds, on=ITEM_ID, how="left")
    for name, keys in CLICKS_BY.items():
        rows = rows.join(_over_expected(past, keys, name, prior_clicks), on=keys, how="left")
    return rows.with_columns(nw.col(*CLICKS_BY).fill_null(0.0)).drop(CATEGORY, BRAND)


def _place() -> nw.Expr:
    place = nw.col(POSITION).cast(nw.Int64)
    beyond = nw.when(place > _LAST_PLACE).then(nw.lit(f"{_LAST_PLACE + 1}+")).otherwise(nw.lit("unknown"))
    return nw.when(place <= _LAST_PLACE).then(place.cast(nw.String)).otherwise(beyond).alias(PLACE)


def _over_expected(past: Frame, keys: list[str], name: str, prior: float) -> Frame:
    sums = past.group_by(*keys).agg(nw.col(LABEL).sum(), nw.col(_EXPECTED).sum())
    ratio = (nw.col(LABEL).cast(nw.Float64) + prior) / (nw.col(_EXPECTED) + prior)
    return sums.select(*keys, ratio.log().alias(name))
