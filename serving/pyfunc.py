"""A bundle as an MLflow model: what `mlflow models serve` and `mlflow.pyfunc.load_model` call, and all it answers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from infra import bundles
from infra.credentials import known_secret
from infra.identity import pseudonym
from infra.settings import load
from models.answers import USERS_AT_ONCE, Answers, Listed, in_turn
from models.errors import TailorbirdError
from models.training_data import index_of

K: Final = 20
PLACEMENT: Final = "home"
_USER_KEY: Final = re.compile(r"[0-9a-f]{64}")
_COLUMNS: Final = ("user", "placement", "rank", "item_id", "score", "reason", "run_id")


class QuestionRefusedError(TailorbirdError):
    """A question that has no answer."""


@dataclass(frozen=True)
class _Asked:
    """One row of the question."""

    user: str
    key: str
    k: int
    placement: str
    exclude: list[str]


@dataclass(frozen=True)
class LoadedModel:
    """A verified bundle that answers as `tailorbird score` does, from itself alone: it asks no database.

    What is not available is what was not when the model learned, and people who came later get what is popular.
    """

    answers: Answers
    users: NDArray[np.str_]
    run_id: str
    pseudonym_key: bytes | None
    """Without it users are known by their `user_key` only."""

    def predict(self, model_input: Any) -> Any:
        """A list for each row of `user`, `k`, `placement` and `exclude`, all but `user` optional: one row an item.

        Users are named by the application's own id or by their `user_key`; nobody is refused for being unknown, and
        unknown items in `exclude` say nothing. Raises QuestionRefusedError.
        """
        frame = pd.DataFrame(model_input)
        if "user" not in frame:
            raise QuestionRefusedError("The question has no column `user`: give one row per user.")
        asked = [self._asked(row) for row in frame.to_dict("records")]
        rows = [row for one, listed in self._lists(asked) for row in self._rows(one, listed)]
        types = {"rank": "int64", "score": "float64"}
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(types)

    def _lists(self, asked: list[_Asked]) -> Iterator[tuple[_Asked, Listed]]:
        """The lists, each as long as the longest that is asked for beside it: what is better never depends on k."""
        for at in range(0, len(asked), USERS_AT_ONCE):
            chunk = asked[at : at + USERS_AT_ONCE]
            keys = np.array([one.key for one in chunk], dtype=np.str_)
            longest = min(max(one.k for one in chunk), len(self.answers.items))
            yield from zip(chunk, self.answers.lists(keys, longest, self._hidden(chunk)), strict=True)

    def _hidden(self, asked: list[_Asked]) -> Any:
        """Boolean CSR, users x items: what each of them may not get."""
        row = np.repeat(np.arange(len(asked)), [len(one.exclude) for one in asked])
        item = index_of(self.answers.items, np.array([i for one in asked for i in one.exclude], dtype=np.str_))
        known = item >= 0
        said = (np.ones(int(known.sum()), dtype=bool), (row[known], item[known]))
        return sparse.csr_array(said, shape=(len(asked), len(self.answers.items)))

    def _rows(self, asked: _Asked, listed: Listed) -> list[tuple[Any, ...]]:
        places = zip(listed.items, listed.scores, listed.reasons, strict=True)
        return [
            (asked.user, asked.placement, rank, *told, self.run_id)
            for rank, told in enumerate(places, 1)
            if rank <= asked.k
        ]

    def _asked(self, row: dict[Any, Any]) -> _Asked:
        user, k, placement, exclude = (_said(row.get(name)) for name in ("user", "k", "placement", "exclude"))
        if not isinstance(user, str) or not user:
            raise QuestionRefusedError(f"`user` has to be a user's id, as text; it is {user!r}.")
        number = K if k is None else k
        if not isinstance(number, Integral) or int(number) < 1:
            raise QuestionRefusedError(f"`k` is how many items to recommend, at least 1; it is {number!r}.")
        if isinstance(exclude, str):
            raise QuestionRefusedError('`exclude` has to be a list of item ids, as in ["1001", "1002"].')
        hidden = [] if exclude is None else [str(item) for item in exclude]
        return _Asked(user, self._key(user), int(number), PLACEMENT if placement is None else str(placement), hidden)

    def _key(self, user: str) -> str:
        """The user's key; a raw id that looks like one is taken for it only if the model knows somebody of that key."""
        looks_like_one = _USER_KEY.fullmatch(user) is not None
        if looks_like_one and (self.pseudonym_key is None or index_of(self.users, np.array([user]))[0] >= 0):
            return user
        if self.pseudonym_key is None:
            raise QuestionRefusedError(
                "This host cannot tell users by your own ids: ask by `user_key` (64 hex digits), or give it the "
                "installation's key as TAILORBIRD_SECRET_PSEUDONYM_KEY."
            )
        return pseudonym(user, self.pseudonym_key)


def _load_pyfunc(path: str) -> LoadedModel:
    """Called by MLflow with the folder of the model. Raises BundleRefusedError before anything in it is opened."""
    bundle = bundles.load(Path(path))
    speakers = in_turn(bundle.model, bundle.segments, bundle.fallback)
    key = known_secret(load(), "pseudonym-key")
    answers = Answers(speakers, bundle.fallback, bundle.available)
    return LoadedModel(answers, bundle.model.users, bundle.manifest["run_id"], key.encode() if key else None)


def _said(value: Any) -> Any:
    """What a cell says; None for the many ways of a frame to say nothing."""
    return None if value is None or (np.ndim(value) == 0 and pd.isna(value)) else value
