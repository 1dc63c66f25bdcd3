from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text

from serving.pyfunc import _load_pyfunc
from tasks.scoring.score_placement import score_placement

LISTS = text("SELECT user_id, item_id, score, reason FROM recommendations_by_user_id ORDER BY user_id, rank")


@pytest.mark.parametrize("kind", ["own_frequency", "most_popular", "two_stage"])
def test_the_model_alone_answers_every_user_as_the_published_lists_do(stage: Any, kind: str) -> None:
    model = _load_pyfunc(str(stage.promote(kind)))
    score_placement.fn(k=12)
    with stage.here.engine.connect() as connection:
        published = pd.DataFrame(connection.execute(LISTS).mappings().all())
    users = list(published["user_id"].unique())
    assert len(users) == 30
    result = model.predict(pd.DataFrame({"user": users, "k": 12}))
    assert list(result["user"]) == list(published["user_id"])
    assert list(result["item_id"]) == list(published["item_id"])
    assert list(result["reason"]) == list(published["reason"])
    assert result["score"].to_list() == pytest.approx(published["score"].astype(float).to_list(), rel=1e-5)
