"""Mixed traffic: all kinds of lists, feedback, updates, wrong keys and hostile ids.

It has few different requests for lists, so that caches are soon as large as they get.
"""

import random
from collections.abc import Callable, Sequence
from urllib.parse import quote

from tests.serving.api.test_hostile_ids import EXACT, REFUSED
from tests.serving.running.open_loop import Request
from tests.serving.running.shop import USERS

SESSIONS = 40
VISITORS, ACTIVE = USERS[:20], USERS[20:40]
"""The active ones click: their lists are live for a while."""
_WRONG_KEY = f"tb_{'0' * 12}_{'0' * 64}"


def mixed(items: Sequence[str], seed: int = 1) -> Callable[[int], Request]:
    """Return a function of the number of a request; the same seed gives the same requests."""
    rng = random.Random(seed)  # noqa: S311 - the same traffic each time
    makers = {
        30: lambda: Request(f"/v1/users/{rng.choice(VISITORS[:5])}/recommendations?k=10"),
        20: lambda: Request(f"/v1/users/{rng.choice(VISITORS + ACTIVE)}/recommendations?k={rng.choice((5, 10, 20))}"),
        12: lambda: Request(f"/v1/recommendations?k=5&session=s{rng.randrange(SESSIONS)}&context={rng.choice(items)}"),
        8: lambda: Request(f"/v1/items/{rng.choice(items)}/similar?k=5"),
        6: lambda: Request(f"/v1/users/stranger-{rng.randrange(100)}/recommendations"),
        5: lambda: Request(
            "/v1/rank", "POST", {"items": rng.sample(list(items), 5), "user": rng.choice(VISITORS + ACTIVE)}
        ),
        4: lambda: Request("/v1/batch/recommendations", "POST", {"users": rng.sample(VISITORS, 5), "k": 5}),
        **{
            share: lambda kind=kind: Request("/v1/feedback", "POST", _act(rng, kind, items))
            for share, kind in ((7, "click"), (1, "not_interested"))
        },
        2: lambda: Request(f"/v1/items/{rng.choice(items)}", "PATCH", {"price": rng.randint(1, 90)}),
        3: lambda: Request("/v1/popular", key=_WRONG_KEY),
        9: lambda: Request(f"/v1/users/{quote(rng.choice(EXACT + REFUSED[1:]), safe='')}/recommendations?k=3"),
    }

    def make(_: int) -> Request:
        return rng.choices([*makers.values()], [*makers])[0]()

    return make


def _act(rng: random.Random, kind: str, items: Sequence[str]) -> dict[str, object]:
    session = f"s{rng.randrange(SESSIONS)}"
    act: dict[str, object] = {"kind": kind, "item_id": rng.choice(items), "session": session, "consent": True}
    return act | {"user": rng.choice(ACTIVE)} if rng.random() < 0.5 else act
