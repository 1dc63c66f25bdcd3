"""Receipts of requests: signed, and refused once a byte of them has changed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.database.schema.privacy_schema import ERASE
from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.privacy.erase_users import erase_users
from tasks.privacy.requests import ask, check_receipt, write_receipt
from tests.tasks.privacy.stores import person


def test_a_receipt_names_the_deleted_rows_and_the_models_that_learned_before(published: Any, tmp_path: Path) -> None:
    here, file = published.here, tmp_path / "receipt.json"
    number = ask(here, ERASE, [person(published, 1)], "ann", "asked by mail")
    removed = erase_users(here)
    receipt = write_receipt(here, number, file)
    assert receipt["removed"] == {store: rows for store, rows in removed.items() if rows}
    assert receipt["learned_from_them"] == [1]
    assert person(published, 1) not in json.dumps(receipt["removed"])
    assert check_receipt(here.settings, file) == {name: receipt[name] for name in receipt if name != "signature"}


def test_a_changed_receipt_is_refused(small: Installation, tmp_path: Path) -> None:
    number = ask(small, ERASE, ["u1"], "ann", "asked by mail")
    erase_users(small)
    write_receipt(small, number, tmp_path / "receipt.json")
    written = (tmp_path / "receipt.json").read_text()
    (tmp_path / "other.json").write_text(re.sub(r'"users": 1,', '"users": 2,', written))
    with pytest.raises(TailorbirdError, match="signed by none"):
        check_receipt(small.settings, tmp_path / "other.json")
    (tmp_path / "part.json").write_text(written[:-9])
    with pytest.raises(TailorbirdError, match="no receipt"):
        check_receipt(small.settings, tmp_path / "part.json")
    with pytest.raises(TailorbirdError, match="no request 99"):
        write_receipt(small, 99, tmp_path / "new.json")
    with small.engine.connect() as connection:
        actions = connection.execute(text("SELECT action FROM audit_log ORDER BY entry_id")).scalars().all()
    assert actions[-2:] == ["privacy erase", "privacy erased"]
