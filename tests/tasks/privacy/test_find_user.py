"""A user is found wherever the id or a pseudonym is, and a store that cannot be searched is named."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import create_engine, text

from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.privacy.find_user import NAMES_DIGITS, NAMES_ID, search
from tasks.privacy.register import STORES, Place
from tests.tasks.privacy.stores import find_user, keys_of


def found_in(here: Installation, user: str) -> dict[str, str]:
    """What the files of `var` outside of the lake name, by their path in it."""
    var = here.settings.var
    places = {place.place: place.about for place in find_user(here, user) if place.place.startswith(f"{var}/")}
    return {str(Path(place).relative_to(var)): about for place, about in places.items() if "/lake/" not in place}


@pytest.mark.parametrize(
    ("name", "content", "about"),
    [
        ("spool/refused.jsonl", '{"user_id": "RAW", "payload": {}}', NAMES_ID),
        ("commands/1.json", '["tailorbird", "privacy", "export", "RAW"]', NAMES_ID),
        ("log/worker.log", "no user RAW, none", NAMES_ID),
        ("log/worker.log", "no user RAW5, none", None),
        ("data_docs/batch/index.html", "<td>RAW</td>", None),
        ("mlflow/artifacts/1/2/artifacts/review/report.html", "<td>KEY8</td>", NAMES_DIGITS),
        ("mlflow/artifacts/1/2/artifacts/review/report.html", "<td>KEY8a</td>", None),
        ("mlflow/artifacts/1/2/artifacts/review/plot.png", "KEY8", None),
        ("mlflow/artifacts/1/2/artifacts/summary.json", '["KEY64"]', "names the user"),
    ],
)
def test_files_name_a_user_by_the_id_the_pseudonym_or_its_first_digits(
    small: Installation, name: str, content: str, about: str | None
) -> None:
    key, path = keys_of(small)["u1"], small.settings.var / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content.replace("RAW", "u1").replace("KEY8", key[:8]).replace("KEY64", key))
    assert found_in(small, "u1") == ({name: about} if about else {})


def test_packed_files_name_a_user_too(small: Installation) -> None:
    var, key = small.settings.var, keys_of(small)["u1"]
    (var / "fetched").mkdir()
    pq.write_table(pa.table({"household": [1370, 7]}), var / "fetched" / "rows.parquet")
    (var / "bundles").mkdir()
    np.savez_compressed(var / "bundles" / "arrays.npz", users=np.array([key]))
    assert found_in(small, "u1") == {"bundles/arrays.npz": "names the user"}
    assert found_in(small, "1370") == {"fetched/rows.parquet": "names the user"}


@pytest.fixture
def with_tag(small: Installation, postgres: Any, mlflow_tables: str) -> Iterator[Installation]:
    """Put a user into a table of MLflow; Prefect has no database."""
    opened = create_engine(postgres.url(mlflow_tables))
    with opened.begin() as connection:
        connection.execute(text("CREATE TABLE planted (value text)"))
        connection.execute(text("INSERT INTO planted VALUES (:value)"), {"value": f"of {keys_of(small)['u1']}"})
    yield replace(small, endpoints=replace(small.endpoints, prefect_login="a:b", mlflow_login=("a", "b")))
    with opened.begin() as connection:
        connection.execute(text("DROP TABLE planted"))
    opened.dispose()


def test_the_databases_of_mlflow_and_prefect_are_searched_if_they_are_ours(
    small: Installation, with_tag: Installation
) -> None:
    ours = {place.place: (place.rows, place.about) for place in search(with_tag, "u1")}
    assert ours["mlflow: public.planted"] == (1, "names the user")
    assert ours["database prefect"] == (0, "not searched: it cannot be read with the login of this installation")
    others = {place.place: place.about for place in search(small, "u1")}
    assert {others[f"database {name}"] for name in ("mlflow", "prefect")} == {"not searched: another server has it"}
    assert "artifacts in MLflow" in others
    assert "artifacts in MLflow" not in ours


def test_every_store_that_cannot_be_searched_is_named_with_the_reason(small: Installation) -> None:
    def unreachable(_raw: str, _keys: list[str]) -> int:
        raise TailorbirdError("Redis does not answer.")

    others = {"Redis": unreachable, "letters": lambda raw, keys: len(keys) if raw == "u1" else 0}
    places = {place.place: (place.rows, place.about) for place in search(small, "u1", others)}
    assert places["Redis"] == (0, "not searched: Redis does not answer.")
    assert places["letters"][0] == 1
    unsearched = [store for store in STORES if store.unsearched]
    assert {Place.BROKER, Place.OUTSIDE} <= {store.place for store in unsearched}
    assert all(places[f"{one.place}: {one.names}"] == (0, f"not searched: {one.unsearched}") for one in unsearched)
