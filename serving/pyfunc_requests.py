"""What MLflow's callers may ask: rows of a frame, read into questions or refused in words."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Final

import numpy as np
import pandas as pd

from models.errors import TailorbirdError

K: Final = 20
PLACEMENT: Final = "home"


class QuestionRefusedError(TailorbirdError):
    """A question that has no answer."""


@dataclass(frozen=True)
class Question:
    """Whom to recommend how many items, where, and which ones not."""

    user: str
    """As the caller names the user."""
    k: int = K
    placement: str = PLACEMENT
    exclude: tuple[str, ...] = ()


def questions(asked: Any) -> list[Question]:
    """One a row of a frame with the column `user`, and `k`, `placement` and `exclude` if they are there.

    Raises QuestionRefusedError.
    """
    frame = pd.DataFrame(asked)
    if "user" not in frame:
        raise QuestionRefusedError("The question has no column `user`: give one row per user.")
    return [_question(row) for row in frame.to_dict("records")]


def _question(row: dict[Any, Any]) -> Question:
    said = {name: row[name] for name in ("user", "k", "placement", "exclude") if name in row and not _silent(row[name])}
    user, k, exclude = said.get("user"), said.get("k", K), said.get("exclude", ())
    if not isinstance(user, str) or not user:
        raise QuestionRefusedError(f"`user` has to be a user's id, as text; it is {user!r}.")
    if not isinstance(k, Integral) or int(k) < 1:
        raise QuestionRefusedError(f"`k` is how many items to recommend, at least 1; it is {k!r}.")
    if np.ndim(exclude) != 1:
        raise QuestionRefusedError(
            f'`exclude` has to be a list of item ids, as in ["1001", "1002"]; it is {exclude!r}.'
        )
    return Question(user, int(k), str(said.get("placement", PLACEMENT)), tuple(str(item) for item in exclude))


def _silent(cell: Any) -> bool:
    """Frames have many ways to say nothing."""
    return cell is None or (np.ndim(cell) == 0 and bool(pd.isna(cell)))
