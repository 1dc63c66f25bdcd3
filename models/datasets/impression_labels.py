"""What becomes of what users are shown: each impression with a 1 when they answered it, and a 0 when they did not."""

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
    """One row per impression of a recommended item in [`start`, `end`) whose window is over at `end` (epoch s).

    Columns: user_key, item_id, recommendation_id, placement, position, shown_at, and `label`: 1 when the user
    answered inside [shown_at, shown_at + window), 0 when not. Only what was known at `end` is used, and an impression
    whose window is still open is left out: its 0 could yet become a 1.

    An answer is an event of the config's step or a later one with the same user, item and recommendation_id; or, past
    the click, one without a recommendation_id by a user who had clicked the item in its window (a checkout often
    forgets where the item came from). It counts for one impression, the latest at or before it: of equally late ones,
    that of the alphabetically first recommendation. The same item shown twice in one second under one recommendation
    is one impression with its smallest position. An impression without recommendation_id cannot be joined, and is
    left out.
    """
    seen = known(events, end)
    shown = _shown(seen, start)
    answered = _answered(seen, shown, config)
    return (
        shown.filter(nw.col(SHOWN_AT) <= end - config.window)
        .join(answered.with_columns(nw.lit(1).alias(LABEL)), on=[*_SHOWN, SHOWN_AT], how="left")
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


def _answered(events: Frame, shown: Frame, config: LabelConfig) -> Frame:
    """The impressions that were answered: `_SHOWN` and `shown_at`, each once."""
    answers, clicks = _answers(config), FUNNEL["click"]
    named = _credited(events, shown, answers, config.window).select(*_SHOWN, SHOWN_AT)
    if set(clicks) <= set(answers):
        return named.unique()
    clicked = _credited(events, shown, clicks, config.window)
    nameless = _credited_by_click(events, clicked, answers, config.window).select(*_SHOWN, SHOWN_AT)
    return nw.concat([named, nameless]).unique()


def _answers(config: LabelConfig) -> tuple[str, ...]:
    """The event types that make an impression a 1."""
    if config.kind == "engagement":
        return tuple(kind for kind, weight in config.weights.items() if weight > 0 and kind != IMPRESSION)
    steps = tuple(FUNNEL)
    return tuple(kind for step in steps[steps.index(config.kind) :] for kind in FUNNEL[step])


def _credited(events: Frame, shown: Frame, kinds: tuple[str, ...], window: int) -> Frame:
    """Each event of these kinds with a recommendation_id, and the latest impression that it can answer."""
    acts = events.filter(nw.col(EVENT_TYPE).is_in(kinds)).select(*_SHOWN, OCCURRED_AT)
    pairs = acts.join(shown.select(*_SHOWN, SHOWN_AT), on=list(_SHOWN), how="inner")
    return pairs.filter(_inside(window)).group_by(*_SHOWN, OCCURRED_AT).agg(nw.col(SHOWN_AT).max())


def _credited_by_click(events: Frame, clicked: Frame, kinds: tuple[str, ...], window: int) -> Frame:
    """Each event of these kinds without a recommendation_id, and the latest impression clicked at or before it."""
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
