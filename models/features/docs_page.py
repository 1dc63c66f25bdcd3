"""Writes docs/features.md from the definitions: `python -m models.features.docs_page > docs/features.md`."""

from collections.abc import Iterator

from models.features.definitions import Feature
from models.features.expressions import ORDER
from models.features.tables.item_features import SMOOTHING
from models.features.tables.registry import TABLES, Table
from models.features.tables.sequences import ACTS, LENGTH
from models.features.tables.session_features import ENGAGEMENT, HALF_LIFE, SESSION_GAP
from models.features.tables.user_item_history import HALF_LIVES, WINDOWS

_OPENING = f"""\
# Features

Generated from the definitions in `models/features/` by `python -m models.features.docs_page > docs/features.md`;
do not edit it by hand.

## What is known when

- A feature at a moment uses the events that had *happened* and had been *received* before it: `occurred_at` and
  `received_at` both earlier. An event at the moment itself belongs to after.
- Times are UTC. Days, hours and weekdays are UTC days, hours and weekdays; "days" as a unit have fractions.
- Categories, brands, listed prices, titles and traits are those known at the moment. Statements with a
  time (Segment's calls) count from it on. The first value that a table states counts from the beginning, because a
  catalogue is usually imported after the events. A value that a later import changes counts from that import on.
- Where the mapping names `updated_at`, each row of a catalogue states its values since its time, the first of an item
  since the beginning: the item had some value before. A time after the import counts as the import. From the import on
  the values that `choose` finds count. Values chosen as `most_frequent` or `longest` have no time: what all rows of the
  first table say counts from the beginning, also at moments before some of these rows.
- Some things are as known when the data set is built, at every moment. Users who have not agreed, or withdrew, are
  left out of all of it: no purchase outlives consent. Agreement given later admits only events that were ingested with
  consent. The events of a device that turned out to be a user's are that user's. Whether an item is merchandise
  (`available`) says what a thing is, not when: a mark that comes later, or is taken back, counts at every moment.
  Stock, release and end of sale are in no data set: they only decide which lists are made now.
- Which value an item or trait had is exact if files come in the order of time. Of values that alternate and come in
  another order some changes between may be missed, never the latest before the newest statement.
- An item is in the price ranks from its first event on.
- Ties in time are never broken by the order of rows: events of one moment go by {", ".join(ORDER[1:])}.

## Words

- **Purchase features** look at events of type `purchase`. A refund takes its purchase back from the moment on at which
  the refund is known: a feature of an earlier moment still counts the purchase
  ([docs/ingestion.md](ingestion.md) says how a refund finds its purchase).
- A **basket** is one session's purchases of a user, or those of one moment where there is no session. An item counts
  once a basket, however many rows it has there, and at the latest of them. A **purchase row** is one such row.
- The **top-level category** is what comes before the first `|` of a category path. Price ranks are among the items of
  the same whole path.
- A **session** is a user's events with less than {SESSION_GAP // 60} minutes from one to the next, refunds aside.
- A value that decays with a **half-life** of h days counts 0.5^(age / h).
- **History** between a user and an item is any event but an impression or a refund.
- No value (null) means that there is nothing to tell from; a count of nothing is 0.
- **Money** (`monetary`, `basket_value`, `mean_price`, and the segments by money) adds amounts as the events state them,
  whatever their currency. So does the rank of a price. If a source has several currencies, convert them in its mapping
  ([docs/ingestion.md](ingestion.md#several-currencies)); `check` and `ingest` write the expression.
"""

_METHODS = f"""\
## Methods

- Popularity windows: {", ".join(map(str, WINDOWS))} days, from their first second on. Half-lives of decayed counts:
  {", ".join(map(str, HALF_LIVES))} days.
- `trend` = (popularity_7d + 1) / (popularity_28d / 4 + 1).
- Conversions count users, not events, over the last 28 days: with n users who took the first step and k of them who
  took the second one, (k + {SMOOTHING} r) / (n + {SMOOTHING}) at the rate r of the whole shop; null where n is 0.
- `price_rank` = (rank - 1) / (items - 1); equal prices share their mean rank. An item without a listed price goes by
  its `mean_price`.
- A gap is (latest basket - first basket) / (baskets - 1). `repurchase_gap_days` is the median over users, so that one
  who buys often counts as much as another.
- `due` = days_since_last / gap, with the user's own gap, else the item's, and a gap of one day at least: 1 is due now.
- Entropy of shares p is -sum(p ln p): 0 for one only, ln n for n in equal parts.
- `sequences` holds the last {LENGTH} events of each user as rows `user_key, position, item_id, event_type,
  occurred_at`; position 0 is the oldest of them. They are of these types:
  {", ".join(ACTS)}.
"""


_SPLITS = """\
## Splits

A data set is split in time, never at random. By default by share: 70 % of the purchases in order of time are for
training, 15 % for validation (searches are measured there) and 15 % for the test that decides and that no search sees.
`tailorbird features --validation-days 30 --test-days 31` takes the last days instead, and `--validation-from` and
`--test-from` name the dates. `--as-of 2026-01-01` leaves out that day, which begins at midnight UTC, and all later
ones. Without it a data set by shares ends right after the newest purchase or refund, so that event is in. A data set
by days ends at the midnight before it. `features` and the review report state all these moments with their time.
Rolling-origin folds (`models.datasets.time_splits.rolling_origin`) give several cuts, each with the same time after it,
for cross-validation.

A boundary is a second. What happened in it belongs to the later part, so events of one second are never torn apart and
the order of rows decides nothing; ties make the earlier part smaller.

## Labels

`labels` says what users did after a cut, as rows `as_of, user_key, item_id, label, weight, labelled_at`: a purchase by
default, or `--label click | add_to_cart | engagement`, up to the next cut or for `--horizon-days`. `weight` is how many
such events there were, or how much engagement. A horizon that is not over by the next cut is refused: those labels
could not have been known. There are no negatives among them, for who did not buy may never have seen the item.

`impressions` holds the negatives, where recommendations were shown and recorded: rows with `recommendation_id`,
`placement`, `position`, `shown_at`, and `label` 1 when the user answered within a day (`attribution_days`), else 0.

- An answer is an event of the label's step or a later one with the same user, item and `recommendation_id`; past the
  click also one without the id, by somebody who had clicked the item within the window.
- It counts for one impression, the latest before it.
- An impression whose window was still open at the cut is left out: its 0 could yet become a 1.

## Segments

Every user is in a segment by purchases (`rfm`: recency, frequency and money in fifths, Hughes 1994) and one by traits
(`demographic`: k-means over the encoded traits, `unknown` without any): the static segments that personalization has to
beat, and what the cold get. The model `segment_popular` recommends what a segment buys of late (its setting `segments`
is `demographic` or `rfm`); a newcomer gets the best sellers of those with his traits. Segments are fitted for
each data set, by the model on what was known at its cut, and SQL can ask for those of now:

```sql
SELECT segment, users, meaning, typical FROM segment_descriptions WHERE kind = 'rfm';
SELECT rfm, count(*) FROM segments WHERE dataset_version = '…' GROUP BY rfm;
```

## Words as numbers

`models.features.encoding.encoder` makes a matrix of a table, fitted on the training part alone and stored with the
model. Numbers are filled (by the median) and scaled. Words of at most 32 values become one column a value, values in
fewer than 5 rows pooled; words of more values become vectors, learned from what occurs together or taken from a model's
own factors; only where neither can be had they are hashed.

## The same again

A data set is named by its definition: the version of the events, the catalogue and the users of that moment, the split,
the labels, the features. `tailorbird features --rebuild NAME` works an old one out again and compares the digests of
all tables: they are equal until somebody was erased or withdrew consent, and then it says which tables differ.
"""


def document() -> str:
    """The whole page, Markdown."""
    return "\n".join([_OPENING, *_tables(), _METHODS, _engagement(), _SPLITS])


def _tables() -> Iterator[str]:
    for name, table in TABLES.items():
        yield _section(name, table)


def _section(name: str, table: Table) -> str:
    rows = [f"| `{key}` | key | |" for key in table.keys] + [_row(feature) for feature in table.features]
    return "\n".join([f"## `{name}`", "", "| name | meaning | unit |", "|---|---|---|", *rows, ""])


def _row(feature: Feature) -> str:
    return f"| `{feature.name}` | {feature.meaning} | {feature.unit} |"


def _engagement() -> str:
    rows = [f"| {', '.join(f'`{name}`' for name in types)} | {weight:g} |" for weight, types in ENGAGEMENT]
    said = f"`engagement` adds up these weights with a half-life of {HALF_LIFE} days; other types add nothing."
    return "\n".join([said, "", "| event types | weight |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    print(document(), end="")
