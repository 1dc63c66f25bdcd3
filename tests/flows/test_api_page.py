"""Runs every shell block of docs/api.md, in order, on the running shop."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.services import state_file

if TYPE_CHECKING:
    from conftest import Shop

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
HOUSEHOLD = "household-0077"


def adapted(shop: Shop) -> str:
    """Return the blocks with the address, a household and items of the shop in place of those of the demo."""
    address = state_file.load(shop.var)["api"].address
    listed = [row["item_id"] for row in shop.json("recommend", HOUSEHOLD)]
    items = dict(zip(dict.fromkeys(re.findall(r"\b\d{6,7}\b", "".join(BLOCKS))), listed, strict=False))
    text = "\n".join(BLOCKS).replace("http://127.0.0.1:8000", address)
    for written, item in items.items():
        text = text.replace(written, item)
    for place in ("/users/{}", "user={}", '"user": "{}"'):
        text = text.replace(place.format(1), place.format(HOUSEHOLD))
    return f"set -euo pipefail\n{text}"


@pytest.fixture(scope="module")
def answers(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, object]], str]:
    """Return the JSON answers in order, and the page."""
    folder = tmp_path_factory.mktemp("page")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = stocked.environment | {"PATH": path}
    done = subprocess.run(
        ["/bin/bash", "-c", adapted(stocked)], cwd=folder, env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(done.stdout.rstrip()):
        value, at = decoder.raw_decode(done.stdout, at)
        found.append(value)
    return found, (folder / "recommendations.html").read_text()


def test_every_request_of_the_page_is_answered_from_the_part_that_the_page_names(
    answers: tuple[list[dict[str, object]], str],
) -> None:
    lists = [answer for answer in answers[0] if "source" in answer]
    assert [answer["source"] in ("table", "cache") for answer in lists][:2] == [True, False]
    assert {"live", "popular"} <= {str(answer["source"]) for answer in lists}
    assert [answer["degraded"] for answer in lists] == [False] * len(lists)
    assert all(answer["items"] for answer in lists)
    products = [answer["items"] for answer in answers[0] if "items" in answer and "source" not in answer]
    assert [len(found) for found in products][2:] == [2]
    assert [answer["status"] for answer in answers[0] if "status" in answer] == ["stored"] * 5


def test_the_pages_rules_are_previewed_stored_and_undone(answers: tuple[list[dict[str, Any]], str]) -> None:
    versions = [answer["current"]["version"] for answer in answers[0] if "version" in answer.get("current", ())]
    assert versions == [0, 1, 2]
    (preview,) = (answer for answer in answers[0] if "edited" in answer)
    first, pinned = (preview[side]["items"][0] for side in ("current", "edited"))
    assert (first["rank"], pinned["rank"], first["item_id"] == pinned["item_id"]) == (1, 1, False)
    reports = {name for answer in answers[0] for name in ("placements", "champion", "batches") if name in answer}
    assert reports == {"placements", "champion", "batches"}


def test_the_page_shows_a_list_without_the_item_that_the_user_dismissed(
    stocked: Shop, answers: tuple[list[dict[str, object]], str]
) -> None:
    page = answers[1]
    assert page.count("<li data-item=") == 4
    query = f"SELECT value FROM exclusions JOIN identity.users USING (user_key) WHERE user_id = '{HOUSEHOLD}'"
    dismissed = stocked.sql(query)
    assert len(dismissed) == 1
    assert f'data-item="{dismissed[0][0]}"' not in page
