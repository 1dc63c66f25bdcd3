"""A bundle as an MLflow model: what `mlflow models serve` and `mlflow.pyfunc.load_model` call."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from infra.bundles import bundle as bundles
from infra.configuration.settings import load
from infra.keys.credentials import find_secret
from infra.keys.fingerprints import PSEUDONYM, fingerprint, key_source
from infra.keys.identity import pseudonym
from infra.keys.key_chain import remaining
from infra.keys.renamed_users import OtherKeyError
from models.lists.list_builder import USERS_AT_ONCE, ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.ranked_lists import UserList
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.vocabulary import index_of
from serving.pyfunc_requests import Question, QuestionRefusedError, questions

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COLUMNS: Final = ("user", "placement", "rank", "item_id", "score", "reason", "run_id")
_NUMBERS: Final = {"rank": "int64", "score": "float64"}


@dataclass(frozen=True)
class LoadedModel:
    """A verified bundle that answers as `tailorbird score` does, from itself alone: it asks no database.

    What is not available is what was not when the model learned, and people who came later get what is popular.
    """

    answers: ListBuilder
    users: NDArray[np.str_]
    run_id: str
    pseudonym_key: bytes | None
    """Without it users are known by their `user_key` only."""

    def predict(self, model_input: Any) -> Any:
        """A list for each row of `user`, `k`, `placement` and `exclude`, all but `user` optional: one row an item.

        Users are named by the application's own id or by their `user_key`; nobody is refused for being unknown, and
        unknown items in `exclude` say nothing. Raises QuestionRefusedError.
        """
        asked = questions(model_input)
        rows = [row for question, listed in self._lists(asked) for row in self._rows(question, listed)]
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_NUMBERS)

    def _lists(self, asked: list[Question]) -> Iterator[tuple[Question, UserList]]:
        """The lists, each as long as the longest that is asked for beside it: what is better never depends on k."""
        for at in range(0, len(asked), USERS_AT_ONCE):
            chunk = asked[at : at + USERS_AT_ONCE]
            keys = np.array([self._key(question.user) for question in chunk], dtype=np.str_)
            longest = min(max(question.k for question in chunk), len(self.answers.items))
            yield from zip(chunk, self.answers.top_lists(keys, longest, self._hidden(chunk)), strict=True)

    def _hidden(self, asked: list[Question]) -> Any:
        """Boolean CSR, users x items: what each of them may not get."""
        row = np.repeat(np.arange(len(asked)), [len(question.exclude) for question in asked])
        named = np.array([item for question in asked for item in question.exclude], dtype=np.str_)
        item = index_of(self.answers.items, named)
        known = item >= 0
        said = (np.ones(int(known.sum()), dtype=bool), (row[known], item[known]))
        return sparse.csr_array(said, shape=(len(asked), len(self.answers.items)))

    def _rows(self, asked: Question, listed: UserList) -> list[tuple[Any, ...]]:
        best = list(zip(listed.items, listed.scores, listed.reasons, strict=True))[: asked.k]
        return [(asked.user, asked.placement, rank, *told, self.run_id) for rank, told in enumerate(best, 1)]

    def _key(self, user: str) -> str:
        """The user's key; a raw id that looks like one is taken for it only if the model knows somebody of that key."""
        looks_like_one = _SHA256.fullmatch(user) is not None
        if looks_like_one and (self.pseudonym_key is None or index_of(self.users, np.array([user]))[0] >= 0):
            return user
        if self.pseudonym_key is None:
            raise QuestionRefusedError(
                "This host cannot tell users by your own ids: ask by `user_key` (64 hex digits), or give it the "
                "installation's key as TAILORBIRD_SECRET_PSEUDONYM_KEY."
            )
        return pseudonym(user, self.pseudonym_key)


def _compare_key(expected: str | None) -> None:
    """Refuse a key that names all users differently; a bundle from before fingerprints names none.

    A rotation has continued the key of an earlier bundle, whose users have their present keys by now.
    """
    key = find_secret(load(), PSEUDONYM)
    if key and expected and remaining(key, expected) is None:
        raise OtherKeyError(
            f"The pseudonym key of {key_source(load(), PSEUDONYM)} (fingerprint {fingerprint(PSEUDONYM, key)}) is not "
            f"the one of this model (fingerprint {expected}). Set TAILORBIRD_SECRET_PSEUDONYM_KEY to that key, or "
            "remove the key from this host and ask by `user_key`."
        )


def _load_pyfunc(path: str) -> LoadedModel:
    """Open the model in a folder, for MLflow. Raises BundleRefusedError before anything in it is opened.

    Folders of verified copies are named by the digest of their manifest, and hold no other bundle. Raises
    OtherKeyError when the host has another pseudonym key than the one the model's users were named with.
    """
    folder = Path(path)
    bundle = bundles.load(folder, folder.name if _SHA256.fullmatch(folder.name) else None)
    cascade = build_cascade(bundle.model, bundle.segments, bundle.fallback)
    key = find_secret(load(), PSEUDONYM)
    _compare_key(bundle.manifest.pseudonym_key)
    answers = ListBuilder(cascade, bundle.fallback, CompiledRules.plain(1, bundle.available), bundle.buyers)
    return LoadedModel(answers, bundle.model.users, bundle.manifest.run_id, key.encode() if key else None)
