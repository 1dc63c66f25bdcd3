import numpy as np
import pyarrow as pa

from models.evaluation.evaluate import Evaluation
from models.gate.exposure import shared


def lists(**shown: list[str] | None) -> Evaluation:
    columns = {"user_key": list(shown), "items_at_10": pa.array(list(shown.values()), pa.list_(pa.string()))}
    return Evaluation(pa.table(columns), {})


def test_what_two_lists_share_is_counted_user_by_user() -> None:
    one = lists(a=["i1", "i2", "i3"], b=["i1"], c=["i9"], d=["i1"])
    other = lists(d=["i2"], c=[], b=["i1"], a=["i3", "i4"])
    np.testing.assert_allclose(shared(one, other), [0.5, 1.0, np.nan, 0.0])


def test_a_user_whom_the_other_did_not_answer_shares_nothing_that_can_be_counted() -> None:
    np.testing.assert_allclose(shared(lists(a=["i1"], z=["i1"]), lists(a=["i1"])), [1.0, np.nan])


def test_items_of_other_users_lists_do_not_count() -> None:
    np.testing.assert_allclose(shared(lists(a=["i1"], b=["i2"]), lists(a=["i2"], b=["i1"])), [0.0, 0.0])
