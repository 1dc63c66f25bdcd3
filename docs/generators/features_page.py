"""Writes docs/features.md from the definitions: `python -m docs.generators.features_page > docs/features.md`."""

from collections.abc import Iterator

from models.features.definitions import Feature
from models.features.expressions import ORDER
from models.features.tables.item_features import HALF_LIVES, SMOOTHING, WINDOWS
from models.features.tables.registry import TABLES, Table
from models.features.tables.user_features import ACTS, ENGAGEMENT, HALF_LIFE, LENGTH, SESSION_GAP
from models.primitives.time import SEASON_DAYS, YEAR_DAYS

_OPENING = f"""\
# Features

Look up what each feature means, which events it may use, and how data sets are split and labelled. The shortest way to
build them:

```sh
tailorbird features
```

`python -m docs.generators.features_page > docs/features.md` generates this page from the definitions in
`models/features/`; do not edit it by hand.

## Which events a feature may use

- A feature at a moment uses the events that had *happened* and had been *received* before it: `occurred_at` and
  `received_at` are both earlier. An event at the moment itself does not count.
- Times are UTC. Days, hours and weekdays are UTC days, hours and weekdays; "days" as a unit have fractions.
- Categories, brands, listed prices, titles and traits are those known at the moment. Statements with a time (Segment's
  calls) count from that time on. The first value in a table counts from the beginning, because a catalogue is usually
  imported after the events. If a later import changes a value, the new one counts from that import on.
- If the mapping names `updated_at`, each row of a catalogue states its values from its time on. The first row of an
  item counts from the beginning: the item had some value before. A time after the import counts as the import. From the
  import on the values that `choose` selects count. Values chosen as `most_frequent` or `longest` have no time: the
  result over all rows of the first table counts from the beginning, also at moments before some of these rows.
- Some facts are as known when the data set is built, at every moment:
  - Users who have not agreed, or withdrew, are left out completely: no purchase outlives consent. If a user agrees
    later, only events that were ingested with consent are added.
  - If a device turns out to belong to a user, its events are that user's.
  - `available` states whether an item is merchandise at all. A mark that is added or removed later counts at every
    moment.
  - Stock, release and end of sale are in no data set: they only decide which lists are made now.
- The value of an item or trait at a moment is exact if files come in the order of time. If alternating values come in
  another order, some changes between them may be missed, but never the latest one before the newest statement.
- An item is in the price ranks from its first event on.
- The order of rows never breaks ties in time: events of one moment are sorted by {", ".join(ORDER[1:])}.

## Definitions

- **Purchase features** use events of type `purchase`. A refund cancels its purchase from the moment at which
  the refund is known: a feature of an earlier moment still counts the purchase
  ([docs/ingestion.md](ingestion.md#refunds) explains how a refund finds its purchase).
- A **basket** is one session's purchases of a user. Without a session, it is the purchases of one moment. An item
  counts once per basket, however many rows it has there, and at the latest of them. A **purchase row** is one such row.
- The **top-level category** is the text before the first `|` of a category path. Price ranks compare items with
  the same whole path.
- A **session** is a user's events with less than {SESSION_GAP // 60} minutes from one to the next, without refunds.
- A value that decays with a **half-life** of h days counts 0.5^(age / h).
- **History** between a user and an item is any event except an impression or a refund.
- No value (null) means that the data are missing; a count of nothing is 0.
- **Money** (`monetary`, `basket_value`, `mean_price`, and the segments by money) adds amounts as the events state them,
  whatever their currency. So does the rank of a price. If a source has several currencies, convert them in its mapping
  ([docs/ingestion.md](ingestion.md#several-currencies)); `check` and `ingest` print the expression.
"""

_METHODS = f"""\
## Methods

- Popularity windows: {", ".join(map(str, WINDOWS))} days, each including its first second. Half-lives of decayed
  counts: {", ".join(map(str, HALF_LIVES))} days.
- `trend` = (popularity_7d + 1) / (popularity_28d / 4 + 1).
- A year is {YEAR_DAYS} days: 52 whole weeks. `share_year_ago` is of the {SEASON_DAYS} days from then on; an item counts
  once per basket. It is null if the first known purchase is later than the first of these days.
- An index, or `category_trend`, is (k + {SMOOTHING} p) / (e + {SMOOTHING}): k baskets in the 28 days, where e would be
  as in the 365 days. p is the index of the level above: of the category path for an item, of the top-level category for
  a path, and 1 for a top-level category. A level that was first bought after the 28 days a year ago has the seasonal
  index p.
- Conversions count users, not events, over the last 28 days. With n users at the first step and k of them at the second
  step, the value is (k + {SMOOTHING} r) / (n + {SMOOTHING}), with the rate r of the whole shop; null if n is 0.
- `price_rank` = (rank - 1) / (items - 1); equal prices share their mean rank. An item without a listed price uses
  its `mean_price`.
- A gap is (latest basket - first basket) / (baskets - 1). `repurchase_gap_days` is the median over users, so that
  frequent buyers count no more than others.
- `due` = days_since_last / gap, with the user's own gap, otherwise the item's, and a gap of at least one day: 1 is due
  now.
- Entropy of shares p is -sum(p ln p): 0 for a single value, ln n for n equal shares.
- `sequences` holds the last {LENGTH} events of each user as rows `user_key, position, item_id, event_type,
  occurred_at`; position 0 is the oldest of them. They are of these types:
  {", ".join(ACTS)}.
"""


_SPLITS = """\
## Splits

A data set has the features at three moments: before the validation weeks, before the test weeks, and now. It is split
in time, never at random. By default it is split by share: 70 % of the purchases in order of time
are for training, 15 % for validation (for searches) and 15 % for the test, which decides and which no search sees.
`tailorbird features --validation-days 30 --test-days 31` takes the last days instead, and `--validation-from` and
`--test-from` name the dates. `--as-of 2026-01-01` leaves out that day, which begins at midnight UTC, and all later
ones. Without it a data set by shares ends right after the newest purchase or refund, so that event is in. A data set by
days ends at the midnight before it. `features` and the review report state all these moments with their time.
Rolling-origin folds (`models.datasets.time_splits.rolling_origin`) give several cuts with test periods of equal length,
for cross-validation.

A boundary is a second. Events in that second belong to the later part, so events of one second are never separated and
the order of rows decides nothing; ties make the earlier part smaller.

## Labels

`labels` lists the actions of users after a cut, as rows `as_of, user_key, item_id, label, weight, labelled_at`: a
purchase by default, or `--label click | add_to_cart | engagement`, up to the next cut or for `--horizon-days`. `weight`
is the number of such events, or the amount of engagement. A horizon that extends beyond the next cut is refused: those
labels could not have been known. `labels` has no negatives, because a user who did not buy an item may never have seen
it.

`impressions` holds the negatives, if recommendations were shown and recorded: rows with `recommendation_id`,
`placement`, `position`, `shown_at`, and `label` 1 if the user responded within a day (`attribution_days`), else 0.

- A response is an event of the label's step or a later step with the same user, item and `recommendation_id`. After the
  click, an event without the id also counts if the user clicked the item within the window.
- It counts for one impression, the latest before it.
- An impression whose window was still open at the cut is left out: its 0 could still become a 1.

## Segments

Every user is in a segment by purchases (`rfm`: recency, frequency and money in fifths, Hughes 1994) and in one by
traits (`demographic`: k-means over the encoded traits, `unknown` without any). These static segments are the baseline
for personalization, and the fallback for cold users. The model `segment_popular` recommends the recent best sellers of
a segment (its setting `segments` is `demographic` or `rfm`); a newcomer gets the best sellers of the segment with the
same traits. Segments are fitted for each data set, and by the model on the data before its cut. SQL shows the current
ones:

```sql
SELECT segment, users, meaning, typical FROM segment_descriptions WHERE kind = 'rfm';
SELECT rfm, count(*) FROM segments WHERE dataset_version = '…' GROUP BY rfm;
```

## Encoding

`models.features.encoding.encoder` turns traits into a matrix. It is fitted on the training part alone and stored with
the model. Numbers are imputed (by the median) and scaled. Of a text trait, each of its groups (at most 32) becomes a
column; groups in fewer than 5 rows share one.

## Rebuild a data set

The definition of a data set is its name: the version of the events, the catalogue and the users of that moment, the
split, the labels, the features. `tailorbird features --rebuild NAME` computes an old one again and compares the digests
of all tables. They are equal until a user is suppressed or withdraws consent; then the command names the tables that
differ.
"""


def document() -> str:
    """Return the whole page as Markdown."""
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
    opening = f"`engagement` adds up these weights with a half-life of {HALF_LIFE} days; other types add nothing."
    return "\n".join([opening, "", "| event types | weight |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    print(document(), end="")
