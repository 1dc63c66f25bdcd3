"""Parses the requests of MLflow's callers: rows of a data frame."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Final

import numpy as np
import pandas as pd

from models.errors import TailorbirdError

K: Final = 20
PLACEMENT: Final = "home"


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
