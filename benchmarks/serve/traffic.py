"""The requests of the benchmark: users and items of the installation, in random order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import numpy as np
from sqlalchemy import Engine, text

from benchmarks.serve.load import Load

LIVE: Final = b'"source":"live"'
PLACEMENT: Final = "home"
_K: Final = 20
_HOT_USERS: Final = 100
_REQUESTS: Final = 5_000
_USERS: Final = text(
    "SELECT DISTINCT user_id FROM recommendations_by_user_id AS listed WHERE placement = :placement "
    # Lists of users who clicked lately are scored at each request.
    "AND NOT EXISTS (SELECT FROM session_profiles JOIN identity.users ON user_key = subject "
    "WHERE users.user_id = listed.user_id AND expires_at > now()) ORDER BY user_id"
)
_ITEMS: Final = text(
    "SELECT item_id FROM current_recommendations WHERE placement = :placement "
    "GROUP BY item_id ORDER BY count(*) DESC, item_id LIMIT 1000"
)


@dataclass(frozen=True)
class Traffic:
    """Users with a published list, items of lists, and the key of the caller."""

    users: Sequence[str]
    baskets: Sequence[tuple[str, str]]
    """Two items for each request."""
    headers: dict[str, str]

    def cached(self, address: str) -> Load:
        """Return requests of few users, whose lists stay in the cache."""
        return Load(address, [self._path(user) for user in self.users[:_HOT_USERS]], self.headers)

    def table(self, address: str) -> Load:
        """Return requests of all users, for a server without a cache."""
        return Load(address, [self._path(user) for user in self.users], self.headers)

    def live(self, address: str) -> Load:
        """Return requests of all users, for a server whose placement is live, as MLflow's server is asked."""
        return Load(address, [self._path(user) for user in self.users], self.headers, meant=LIVE)

    def context(self, address: str) -> Load:
        """Return requests of all users with a basket of two items, which no batch can know."""
        pairs = zip(self.users, self.baskets, strict=True)
        paths = [f"{self._path(user)}&{urlencode([('context', item) for item in basket])}" for user, basket in pairs]
        return Load(address, paths, self.headers, meant=LIVE)

    def mlflow(self, address: str) -> Load:
        """Return requests of MLflow's server. wrk sends one body, so all ask for the first user."""
        body = json.dumps({"dataframe_records": [{"user": self.users[0], "k": _K}]})
        return Load(address, ["/invocations"], {"Content-Type": "application/json"}, body, connections=8)

    @staticmethod
    def _path(user: str) -> str:
        return f"/v1/users/{quote(user, safe='')}/recommendations?placement={PLACEMENT}&k={_K}"


def traffic(engine: Engine, key: str, random: np.random.Generator) -> Traffic:
    """Return the traffic for an installation with published lists."""
    with engine.connect() as connection:
        users = [str(user) for user in connection.execute(_USERS, {"placement": PLACEMENT}).scalars()]
        items = [str(item) for item in connection.execute(_ITEMS, {"placement": PLACEMENT}).scalars()]
    chosen = random.choice(np.array(users, dtype=object), _REQUESTS).tolist()
    baskets = [(items[a], items[b]) for a, b in random.integers(len(items), size=(_REQUESTS, 2)).tolist()]
    return Traffic(chosen, baskets, {"Authorization": f"Bearer {key}"})
