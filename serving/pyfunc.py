"""A bundle as an MLflow model, for `mlflow models serve` and `mlflow.pyfunc.load_model`."""

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

from infra.bundles import bundle as bundles
from infra.bundles.arrays import OtherKeyError
from infra.configuration.settings import load
from infra.keys.credentials import PSEUDONYM, find_secret, fingerprint, key_source, remaining
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from models.lists.list_builder import USERS_AT_ONCE, ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.ranked_lists import UserList
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.vocabulary import index_of

K: Final = 20
PLACEMENT: Final = "home"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COLUMNS: Final = ("user", "placement", "rank", "item_id", "score", "reason", "run_id")
_NUMBERS: Final = {"rank": "int64", "score": "float64"}


class QuestionRefusedError(TailorbirdError):
    """A request that is not valid."""


@dataclass(frozen=True)
class Question:
    """A request for one user's list."""

    user: str
    """The caller's id of the user."""
    k: int = K
    placement: str = PLACEMENT
    exclude: tuple[str, ...] = ()


def questions(model_input: Any) -> list[Question]:
    """Return one question per row of a frame with the column `user`, and optionally `k`, `placement` and `exclude`.

    Raises QuestionRefusedError.
    """
    frame = pd.DataFrame(model_input)
    if "user" not in frame:
        raise QuestionRefusedError("The question has no column `user`: give one row per user.")
    return [_question(row) for row in frame.to_dict("records")]


def _question(row: dict[Any, Any]) -> Question:
    given = {
        name: row[name] for name in ("user", "k", "placement", "exclude") if name in row and not _is_empty(row[name])
    }
    user, k, exclude = given.get("user"), given.get("k", K), given.get("exclude", ())
    if not isinstance(user, str) or not user:
        raise QuestionRefusedError(f"`user` has to be a user's id, as text; it is {user!r}.")
    if not isinstance(k, Integral) or int(k) < 1:
        raise QuestionRefusedError(f"`k` is how many items to recommend, at least 1; it is {k!r}.")
    if np.ndim(exclude) != 1:
        raise QuestionRefusedError(
            f'`exclude` has to be a list of item ids, as in ["1001", "1002"]; it is {exclude!r}.'
        )
    return Question(user, int(k), str(given.get("placement", PLACEMENT)), tuple(str(item) for item in exclude))


def _is_empty(cell: Any) -> bool:
    """Return whether a cell is null; frames have several kinds of null."""
    return cell is None or (np.ndim(cell) == 0 and bool(pd.isna(cell)))


@dataclass(frozen=True)
class LoadedModel:
    """A verified bundle that builds lists as `tailorbird score` does, without a database.

    An item is unavailable if it was when the model learned, and users who came later get popular items.
    """

    builder: ListBuilder
    users: NDArray[np.str_]
    run_id: str
    pseudonym_key: bytes | None
    """Without it users are identified by their `user_key` only."""

    def predict(self, model_input: Any) -> Any:
        """Return a list for each row of `user`, `k`, `placement` and `exclude`, with one row per item.

        All columns but `user` are optional. Users are identified by the application's own id or by their `user_key`.
        Unknown users get a list too, and unknown items in `exclude` are ignored. Raises QuestionRefusedError.
        """
        requests = questions(model_input)
        rows = [row for question, listed in self._lists(requests) for row in self._rows(question, listed)]
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_NUMBERS)

    def _lists(self, requests: list[Question]) -> Iterator[tuple[Question, UserList]]:
        """Yield the lists, each as long as the longest of its chunk: the order of items does not depend on k."""
        for at in range(0, len(requests), USERS_AT_ONCE):
            chunk = requests[at : at + USERS_AT_ONCE]
            keys = np.array([self._key(question.user) for question in chunk], dtype=np.str_)
            longest = min(max(question.k for question in chunk), len(self.builder.items))
            yield from zip(chunk, self.builder.top_lists(keys, longest, self._hidden(chunk)), strict=True)

    def _hidden(self, chunk: list[Question]) -> Any:
        """Return a boolean CSR, users x items, of the excluded items."""
        row = np.repeat(np.arange(len(chunk)), [len(question.exclude) for question in chunk])
        excluded = np.array([item for question in chunk for item in question.exclude], dtype=np.str_)
        item = index_of(self.builder.items, excluded)
        known = item >= 0
        pairs = (np.ones(int(known.sum()), dtype=bool), (row[known], item[known]))
        return sparse.csr_array(pairs, shape=(len(chunk), len(self.builder.items)))

    def _rows(self, question: Question, listed: UserList) -> list[tuple[str | int | float, ...]]:
        best = list(zip(listed.items, listed.scores, listed.reasons, strict=True))[: question.k]
        return [(question.user, question.placement, rank, *entry, self.run_id) for rank, entry in enumerate(best, 1)]

    def _key(self, user: str) -> str:
        """Return the user's key. A raw id in the form of a key is one only if the model knows a user of that key."""
        has_key_form = _SHA256.fullmatch(user) is not None
        if has_key_form and (self.pseudonym_key is None or index_of(self.users, np.array([user]))[0] >= 0):
            return user
        if self.pseudonym_key is None:
            raise QuestionRefusedError(
                "This host cannot tell users by your own ids: ask by `user_key` (64 hex digits), or give it the "
                "installation's key as TAILORBIRD_SECRET_PSEUDONYM_KEY."
            )
        return pseudonym(user, self.pseudonym_key)


def _compare_key(expected: str | None) -> None:
    """Raise OtherKeyError for another pseudonym key than the bundle's; bundles from before fingerprints have none.

    After a rotation, the key of an earlier bundle is accepted, because its users have been rekeyed.
    """
    key = find_secret(load(), PSEUDONYM)
    if key and expected and remaining(key, expected) is None:
        raise OtherKeyError(
            f"The pseudonym key of {key_source(load(), PSEUDONYM)} (fingerprint {fingerprint(PSEUDONYM, key)}) is not "
            f"the one of this model (fingerprint {expected}). Set TAILORBIRD_SECRET_PSEUDONYM_KEY to that key, or "
            "remove the key from this host and ask by `user_key`."
        )


def _load_pyfunc(path: str) -> LoadedModel:
    """Open the model in a folder, for MLflow. Raises BundleRefusedError before any of its files is opened.

    Folders of verified copies are named by the digest of their manifest, and contain no other bundle. Raises
    OtherKeyError if the host has another pseudonym key than the model.
    """
    folder = Path(path)
    bundle = bundles.load(folder, folder.name if _SHA256.fullmatch(folder.name) else None)
    cascade = build_cascade(bundle.model, bundle.segments, bundle.fallback)
    key = find_secret(load(), PSEUDONYM)
    _compare_key(bundle.manifest.pseudonym_key)
    builder = ListBuilder(cascade, bundle.fallback, CompiledRules.plain(1, bundle.available), bundle.buyers)
    return LoadedModel(builder, bundle.model.users, bundle.manifest.run_id, key.encode() if key else None)
