"""Writes the policy of data of people from the register of stores and the settings of retention."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from infra.configuration.retention import Retention
from tasks.privacy.register import STORES, Place

_OPENING: Final = """\
# Stores of data of people

```sh
tailorbird privacy policy              # this page with your own settings of `retention`
tailorbird privacy verify 1370         # search the stores for a user
```

Every store that can hold data of a user, what it holds, how long, and what an [erasure](privacy.md) deletes of it.
Users have pseudonyms in all stores that do not name ids. `tasks/privacy/register.toml` lists the stores, and a test
finds a new one without an entry. `python -m docs.generators.privacy_page > docs/privacy_policy.md` makes this page
with the default [settings](settings.md#retention); do not edit it by hand.

Names of staff who decide, set rules or make keys, and their reasons, are kept in `audit_log` and the tables beside it,
and in runs of Prefect and MLflow. An erasure of a user does not delete them.
"""
_HEAD: Final = "| store | holds | kept | an erasure deletes |\n|---|---|---|---|"


def document(retention: Retention | None = None) -> str:
    """Return the page as Markdown, with the default settings or those of an installation."""
    chosen = asdict(retention or Retention())
    own = "".join(f"; of `{source}` {period or 'for ever'}" for source, period in chosen.pop("sources").items())
    periods = {name: period or "for ever" for name, period in chosen.items()}
    periods["events"] += own
    return "\n".join([_OPENING, *(line for place in Place for line in _section(place, periods))])


def _section(place: Place, periods: dict[str, str]) -> Iterator[str]:
    rows = [store for store in STORES if store.place is place and store.holds]
    yield from (f"## {place[0].upper()}{place[1:]}", "", _HEAD)
    for store in rows:
        names = ", ".join(f"`{name}`" for name in store.names.split())
        yield f"| {names} | {store.holds} | {store.kept.format(**periods)} | {store.erased} |"
    if empty := [f"`{name}`" for one in STORES if one.place is place and not one.holds for name in one.names.split()]:
        yield f"\nWithout data of users: {', '.join(empty)}."
    yield ""
