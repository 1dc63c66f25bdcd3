"""Label impressions: 1 if the user responded, 0 if not."""

from typing import Final

import narwhals as nw

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, PLACEMENT, POSITION, RECOMMENDATION_ID, USER_KEY
from models.datasets.labels import FUNNEL, LABEL, LabelConfig
from models.features.expressions import Frame, known

SHOWN_AT: Final = "shown_at"
IMPRESSION: Final = "impression"

_PAIR: Final = (USER_KEY, ITEM_ID)
_SHOWN: Final = (*_PAIR, RECOMMENDATION_ID)


def impressions(events: Frame, start: int, end: int, config: LabelConfig) -> Frame:
    """Return one row per impression of a recommended item in [`start`, `end`) whose window is over at `end` (epoch s).

    Columns: user_key, item_id, recommendation_id, placement, position, shown_at, and `label`: 1 if the user
    responded inside [shown_at, shown_at + window), else 0. Only events known at `end` are used. An impression whose
    window is still open is left out, because its 0 could become a 1.

    A response is an event of the config's step or a later one with the same user, item and recommendation_id. After
    the click it may lack the recommendation_id if the user clicked the item in its window, because a checkout often
    loses the id. A response counts for one impression, the latest at or before it. Of equally late ones the
    alphabetically first recommendation counts. The same item shown twice in one second under one recommendation is
    one impression with its smallest position. An impression without recommendation_id cannot be joined and is left
    out.
    """
    known_events = known(events, end)
    shown = _shown(known_events, start)
    responded = _responded(known_events, shown, config)
    return (
        shown.filter(nw.col(SHOWN_AT) <= end - config.window)
        .join(responded.with_columns(nw.lit(1).alias(LABEL)), on=[*_SHOWN, SHOWN_AT], how="left")
        .with_columns(nw.col(LABEL).fill_null(0).cast(nw.Int64))
        .select(*_SHOWN, PLACEMENT, POSITION, SHOWN_AT, LABEL)
    )


def _shown(events: Frame, start: int) -> Frame:
    return (
        events.filter(
            nw.col(EVENT_TYPE) == IMPRESSION, nw.col(OCCURRED_AT) >= start, ~nw.col(RECOMMENDATION_ID).is_null()
        )
        .with_columns(nw.col(OCCURRED_AT).alias(SHOWN_AT))
        .group_by(*_SHOWN, SHOWN_AT)
        .agg(nw.col(PLACEMENT).min(), nw.col(POSITION).min())
    )


def _responded(events: Frame, shown: Frame, config: LabelConfig) -> Frame:
    """Return the impressions with a response: `_SHOWN` and `shown_at`, each once."""
    responses, clicks = _response_types(config), FUNNEL["click"]
    with_id = _credited(events, shown, responses, config.window).select(*_SHOWN, SHOWN_AT)
    if set(clicks) <= set(responses):
        return with_id.unique()
    clicked = _credited(events, shown, clicks, config.window)
    without_id = _credited_by_click(events, clicked, responses, config.window).select(*_SHOWN, SHOWN_AT)
    return nw.concat([with_id, without_id]).unique()


def _response_types(config: LabelConfig) -> tuple[str, ...]:
    """Return the event types that make the label of an impression 1."""
    if config.kind == "engagement":
        return tuple(kind for kind, weight in config.weights.items() if weight > 0 and kind != IMPRESSION)
    steps = tuple(FUNNEL)
    return tuple(kind for step in steps[steps.index(config.kind) :] for kind in FUNNEL[step])


def _credited(events: Frame, shown: Frame, kinds: tuple[str, ...], window: int) -> Frame:
    """Return each event of these types with a recommendation_id, and the latest impression that it responds to."""
    acts = events.filter(nw.col(EVENT_TYPE).is_in(kinds)).select(*_SHOWN, OCCURRED_AT)
    pairs = acts.join(shown.select(*_SHOWN, SHOWN_AT), on=list(_SHOWN), how="inner")
    return pairs.filter(_inside(window)).group_by(*_SHOWN, OCCURRED_AT).agg(nw.col(SHOWN_AT).max())


def _credited_by_click(events: Frame, clicked: Frame, kinds: tuple[str, ...], window: int) -> Frame:
    """Return each event of these types without a recommendation_id, and the latest impression clicked before it."""
    bare = events.filter(nw.col(EVENT_TYPE).is_in(kinds), nw.col(RECOMMENDATION_ID).is_null())
    acts = bare.select(*_PAIR, OCCURRED_AT).unique()
    clicks = clicked.group_by(*_SHOWN, SHOWN_AT).agg(nw.col(OCCURRED_AT).min().alias("_clicked_at"))
    pairs = acts.join(clicks, on=list(_PAIR), how="inner")
    pairs = pairs.filter(_inside(window), nw.col("_clicked_at") <= nw.col(OCCURRED_AT))
    latest = pairs.group_by(*_PAIR, OCCURRED_AT).agg(nw.col(SHOWN_AT).max())
    return (
        pairs.join(latest, on=[*_PAIR, OCCURRED_AT, SHOWN_AT], how="inner")
        .group_by(*_PAIR, OCCURRED_AT, SHOWN_AT)
        .agg(nw.col(RECOMMENDATION_ID).min())
    )


def _inside(window: int) -> nw.Expr:
    after = nw.col(OCCURRED_AT) - nw.col(SHOWN_AT)
    return (after >= 0) & (after < window)
