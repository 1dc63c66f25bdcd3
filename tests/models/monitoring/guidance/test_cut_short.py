"""Tests that the command after an interrupted ingest repeats it with the same options."""

from typing import Any

import pytest

from models.monitoring.guidance.situation import CutShort

MONTHS = tuple(f"/rok/zamowienia_2026-{n:02}.csv" for n in range(1, 10))


@pytest.mark.parametrize(
    ("locations", "place"),
    [
        (("/rok/maj 1.csv",), "'/rok/maj 1.csv'"),
        (MONTHS[:2], " ".join(MONTHS[:2])),
        (MONTHS, "'/rok/zamowienia*.csv'"),
        ((*MONTHS, "/rok/zamowienia.csv.gz"), "/rok"),
        ((*MONTHS, "/rok/[1]/a.csv"), "/rok/"),
        (tuple(f"/[1]/{n}.csv" for n in range(5)), "'/[1]'"),
        (tuple(f"s3://bucket/{n}/a.csv" for n in range(5)), "s3://bucket/"),
    ],
)
def test_few_files_are_named_and_many_by_a_pattern_or_their_folder(locations: tuple[str, ...], place: str) -> None:
    assert CutShort("sklep", "/sklep.toml", locations).command == f"tailorbird ingest /sklep.toml {place}"


def test_the_options_of_before_are_given_again() -> None:
    overrides: dict[str, Any] = {"name": "shop", "consent": "opt-in", "from": "2026-01-01"}
    command = CutShort("shop", "/sklep.toml", ("/a.csv",), overrides).command
    assert command == "tailorbird ingest shop /a.csv --mapping /sklep.toml --consent opt-in --from 2026-01-01"
