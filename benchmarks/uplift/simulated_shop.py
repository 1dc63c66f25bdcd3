"""Simulates weeks of a home page whose visitors belong to groups with a policy each. It knows nothing of our models.

What people want is the law of `benchmarks.heads.simulated_shops`, and for half of a visit's wishes a category that they
want this week. They look at the first places more often than at the last, tire of items that they saw and did not
click, and buy what their budget allows. They also buy without the home page, so its purchases replace others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.heads.simulated_shops import Shop, chances, drawn_shape, simulate
from models.columns import ITEM_ID, OCCURRED_AT, QUANTITY, RECEIVED_AT, SESSION_ID, USER_KEY, VALUE
from models.datasets.dataset import Dataset
from models.primitives.time import DAY

Array = NDArray[Any]
PLACES: Final = 10
WEEK: Final = 7
COUNTED: Final = ("days", "impressions", "clicks", "orders", "revenue")
_VISITS_PER_ORDER: Final = 4
"""One visit of so many buys without the home page too."""
_MORE_LOOKS: Final = 0.5
"""Mean number of further looks at the home page in a visit."""
_POSITION: Final = 0.7
"""A place is looked at with the probability place^-0.7."""
_PULL: Final = 8.0
"""A wish of w makes a click on an item that is looked at with the probability 1 - exp(-8 w)."""
_INTEREST: Final = 0.5
"""The share of a visit's wishes that are of the category of the week."""
_TIRED: Final = 0.8
"""The factor of a wish for each time that the item was seen without a click; a week halves these times."""
_BOUGHT: Final = 0.2
"""The share of clicks that become purchases within the budget."""
_BUDGET: Final = 2.0
"""The median budget of a visit, in mean baskets at mean prices; users and their visits differ."""
_SAYS_TASTE: Final = 0.6
"""The share of users whose trait states their taste."""


@dataclass(frozen=True)
class Act:
    """A click or a purchase of a user."""

    item: int
    day: float
    bought: bool


Shown = Callable[[int, float, Sequence[Act]], Array]
"""Returns [at most PLACES] items for a user at a time, after the latest acts of that user, the latest last."""
Policies = Callable[[Dataset], Mapping[str, Shown]]
"""Learns policies from what is known at the end of a data set."""


def shop_with_traits(name: str, users: int, seed: int) -> Shop:
    """Return a simulated shop whose users have a trait that says something of their taste."""
    shop = simulate(replace(drawn_shape(name, seed), users=users), seed)
    random = np.random.default_rng([seed, 2])
    main = np.array([int(person.tastes.argmax()) for person in shop.people])
    honest = random.random(users) < _SAYS_TASTE
    stated = np.where(honest, main, random.integers(shop.shape.tastes, size=users))
    style = [f"style {one}" for one in stated.tolist()]
    return replace(shop, users=pa.table({USER_KEY: shop.users[USER_KEY], "style": style}))


@dataclass
class Home:
    """The state of a shop whose home page is simulated."""

    shop: Shop
    group: Array
    """[users] the number of each user's policy."""
    random: np.random.Generator
    bought: list[Array] = field(init=False)
    """By user [n, 2] item and day."""
    acts: dict[int, list[Act]] = field(default_factory=dict)
    sold: list[tuple[int, int, float, str]] = field(default_factory=list)
    """User, item, day and session."""
    counts: dict[str, Array] = field(init=False)
    """By name of `COUNTED` [users], since the last call of `counted`."""
    seen: Array = field(init=False)
    """[users, items] how often each item was seen without a click."""
    budget: Array = field(init=False)
    """[users] the median of a visit."""

    def __post_init__(self) -> None:
        """Begin at the end of the shop's history."""
        shape, shop = self.shop.shape, self.shop
        self.bought = [own[own[:, 1] < shape.days] for own in shop.bought]
        self.seen = np.zeros((shape.users, shape.items), dtype=np.float32)
        self.prices = np.asarray(shop.items["price"])
        self.category = [np.flatnonzero(shop.goods.category == one) for one in range(max(1, shape.categories))]
        usual = _BUDGET * shape.basket * self.prices.mean()
        self.budget = usual * self.random.lognormal(0, 0.5, shape.users)
        self.counts = self._zeros()

    def _zeros(self) -> dict[str, Array]:
        return {name: np.zeros(self.shop.shape.users) for name in COUNTED}

    def counted(self) -> dict[str, Array]:
        """Return what each user did since the last call."""
        counts, self.counts = self.counts, self._zeros()
        return counts

    def dataset(self, day: int) -> Dataset:
        """Return what is known at the beginning of a day."""
        shop, rows = self.shop, self.shop.interactions
        history = rows.filter(np.asarray(rows[OCCURRED_AT]) < shop.shape.days * DAY)
        if self.sold:
            user, item, at, session = zip(*self.sold, strict=True)
            moment = (np.array(at) * DAY).astype(np.int64)
            columns: dict[str, Any] = {
                USER_KEY: [f"u{one:05}" for one in user],
                ITEM_ID: [f"i{one:05}" for one in item],
            }
            columns |= {OCCURRED_AT: moment, RECEIVED_AT: moment, SESSION_ID: session}
            columns |= {QUANTITY: np.ones(len(item)), VALUE: self.prices[np.array(item)]}
            history = pa.concat_tables([history, pa.table(columns).select(history.column_names).cast(history.schema)])
        return replace(shop, interactions=history).dataset(day)

    def week(self, day: int, shown: Sequence[Shown]) -> None:
        """Simulate all visits of a week, with the policies by the number of the group."""
        self.seen /= 2
        for user, person in enumerate(self.shop.people):
            gap = person.gap / _VISITS_PER_ORDER
            visits = np.sort(self.random.uniform(day, day + WEEK, self.random.poisson(WEEK / gap)))
            interest = -1
            for number, at in enumerate(visits.tolist()):
                wish = chances(self.shop.shape, self.shop.goods, person, self.bought[user], at)
                if interest < 0:
                    interest = self._drawn_interest(wish)
                self._visit(user, at, f"{user} {day} {number}", wish, interest, shown[self.group[user]])

    def _drawn_interest(self, wish: Array) -> int:
        by_category = np.array([wish[items].sum() for items in self.category])
        return int(self.random.choice(len(by_category), p=by_category / by_category.sum()))

    def _visit(self, user: int, at: float, session: str, wish: Array, interest: int, shown: Shown) -> None:
        random, left = self.random, self.budget[user] * self.random.lognormal(0, 0.3)
        wanted, basket, counts = self._wanted(wish, interest), list[int](), self.counts
        counts["days"][user] += 1
        for _ in range(1 + random.poisson(_MORE_LOOKS)):
            acts = self.acts.setdefault(user, [])
            items = shown(user, at, acts)
            clicked = self._clicked(user, items, wanted)
            counts["impressions"][user] += len(items)
            counts["clicks"][user] += len(clicked)
            for item in clicked.tolist():
                buys = item not in basket and random.random() < _BOUGHT and self.prices[item] <= left
                acts.append(Act(item, at, bought=bool(buys)))
                if buys:
                    basket.append(item)
                    left -= self.prices[item]
        if random.random() < 1 / _VISITS_PER_ORDER:
            for item in random.choice(len(wanted), 1 + random.poisson(self.shop.shape.basket - 1), p=wanted).tolist():
                if item not in basket and self.prices[item] <= left:
                    self.acts[user].append(Act(item, at, bought=True))
                    basket.append(item)
                    left -= self.prices[item]
        if basket:
            counts["orders"][user] += 1
            counts["revenue"][user] += self.prices[basket].sum()
            self.sold += [(user, item, at, session) for item in basket]
            self.bought[user] = np.concatenate([self.bought[user], [(item, at) for item in basket]])

    def _wanted(self, wish: Array, interest: int) -> Array:
        """Return [items] the wishes of a visit: those of the user, and those of them in a category."""
        own, items = wish.copy(), self.category[interest]
        total = wish[items].sum()
        if total > 0:
            own *= 1 - _INTEREST
            own[items] += _INTEREST * wish[items] / total
        shares: Array = own / own.sum()
        return shares

    def _clicked(self, user: int, items: Array, wanted: Array) -> Array:
        looked = items[self.random.random(len(items)) < np.arange(1, len(items) + 1) ** -_POSITION]
        wish = wanted[looked] * _TIRED ** self.seen[user, looked]
        clicked: Array = looked[self.random.random(len(looked)) < 1 - np.exp(-_PULL * wish)]
        self.seen[user, looked] += 1
        self.seen[user, clicked] = 0
        return clicked


def experiment(
    shop: Shop, before: Callable[[Dataset], Shown], learn: Policies, names: Sequence[str], weeks: int, seed: int
) -> tuple[Array, dict[str, Array]]:
    """Return [users] the number of each user's policy, and what each user did, with the weeks before as `_before`.

    Everybody has the policy `before` for as many weeks first. Policies learn every week from all purchases so far.
    """
    random = np.random.default_rng([seed, 3])
    home = Home(shop, random.integers(len(names), size=shop.shape.users), random)
    for week in range(weeks):
        day = shop.shape.days + WEEK * week
        home.week(day, [before(home.dataset(day))] * len(names))
    sums = {f"{name}_before": values for name, values in home.counted().items()}
    home.seen[:] = 0  # nobody is tired of the items that one of the policies shows more often
    for week in range(weeks, 2 * weeks):
        day = shop.shape.days + WEEK * week
        policies = learn(home.dataset(day))
        home.week(day, [policies[name] for name in names])
    return home.group, sums | home.counted()
