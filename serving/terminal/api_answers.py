"""Prints answers of the API: for a household, and for a visitor without an account who has a basket."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote

from infra.database.engine import Engine
from infra.keys.recorded_api_keys import NewKey, create_key
from infra.services.http_client import request_json
from serving.terminal.console import line, table

_NAMES: Final = {"rank": "#", "item_id": "item", "title": "product", "reason": "reason"}
_PATIENCE: Final = 20.0
"""Seconds in which a server notices a new champion and its lists, with a margin."""


def print_api_answers(database: Engine, address: str, user: str, in_basket: Mapping[str, Any]) -> None:
    """Print the list of a user, and that of a visitor with one item in the basket. The key is valid for a day."""
    key = create_key(database, NewKey("demo", ["read"], valid_for=timedelta(days=1)), "demo")["key"]
    headers = {"Authorization": f"Bearer {key}"}
    household = f"/v1/users/{quote(user, safe='')}/recommendations?k=3"
    visitor = f"/v1/recommendations?k=3&context={quote(in_basket['item_id'], safe='')}"
    if not _published(f"{address}{household}", headers):
        line(f"The API at {address} does not answer from the new lists yet; its log is log/api.log in `var`.", "yellow")
        return
    basket = in_basket["title"] or in_basket["item_id"]
    for title, path in ((f"The API for {user}", household), (f"The API for a visitor with: {basket}", visitor)):
        answer = request_json("GET", f"{address}{path}", headers)
        table(f"{title} (source: {answer['source']})", answer["items"], _NAMES)
    line(f"curl -H 'Authorization: Bearer {key}' '{address}{visitor}'", wrap=False)


def _published(url: str, headers: Mapping[str, str]) -> bool:
    """Return whether the server answers from published lists, which it may take seconds to notice."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            answer = request_json("GET", url, headers, seconds=5)
            if answer and answer["batch_id"] is not None:
                return True
        except (HTTPError, OSError):
            pass  # it starts, or does not know the key yet
        time.sleep(0.2)
    return False
