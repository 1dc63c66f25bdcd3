"""Defines how long stores keep data that end by themselves."""

import re
from dataclasses import asdict, dataclass, field
from typing import Final

FOR_EVER: Final = ""
_PERIOD: Final = re.compile(r"([1-9]\d{0,3}) (day|month|year)s?")
_DAYS: Final = {"day": 1, "month": 31, "year": 366}


@dataclass(frozen=True)
class Retention:
    """Periods such as `90 days`, `25 months` or `2 years`; an empty one keeps the data for ever."""

    served_answers: str = "90 days"
    """Origins of the lists that the API showed, which impressions refer to."""
    served_lists: str = "180 days"
    """Lists of a sample of users after they were replaced, which purchases are compared with."""
    dead_letters: str = "90 days"
    """Messages of the broker that cannot be read, after they came last."""
    mlflow_runs: str = FOR_EVER
    """Runs in MLflow with their reports, except those that a version or the next review needs."""
    prefect_runs: str = "90 days"
    """Runs in Prefect with their logs and pages, if Prefect is our own."""

    events: str = FOR_EVER
    """Events in the lake, by whole months."""
    impressions: str = FOR_EVER
    """Impressions in the lake, of all sources; purchases and acts stay as long as `events` says."""
    sources: dict[str, str] = field(default_factory=dict)
    """Other periods for events of some sources, such as `{clicks = "90 days"}`."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value that is no period."""
        periods = {name: period for name, period in asdict(self).items() if name != "sources"}
        for name, period in {**periods, **{f"sources.{one}": own for one, own in self.sources.items()}}.items():
            if period != FOR_EVER and not _PERIOD.fullmatch(period):
                raise ValueError(f"{name} is a period such as `90 days` or `25 months`, or empty: for ever")


def seconds(period: str) -> int:
    """Return the seconds of a period, of its longest months and years; of an empty one a century."""
    match = _PERIOD.fullmatch(period or "100 years")
    assert match
    return int(match[1]) * _DAYS[match[2]] * 86_400
