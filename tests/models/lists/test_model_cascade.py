import numpy as np
import pytest

from models.datasets.training_data import TrainingData
from models.lists.model_cascade import InTurn
from models.recommenders.baselines.most_popular import Config, MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.retrieval.full_catalogue import top_k

ALL = np.ones(2, dtype=bool)


@pytest.fixture
def turn(small) -> InTurn:
    """Ann's own tea; after her own habits, what three others buy: ann and bob are known to both, cid to neither."""
    data: TrainingData = small([("ann", "tea", 99, "1"), ("bob", "cup", 99, "2"), ("bob", "tea", 99, "3")])
    own = OwnFrequency.fit(data, OwnFrequency.config_type(), 0)
    others = MostPopular(
        Config(), np.array(["ann", "bob", "eve"]), data.items, np.array([5, 7], np.float32), np.array([5, 7], np.int32)
    )
    return InTurn((own, others))


def test_the_first_who_has_anything_to_say_speaks_and_of_strangers_nobody(turn: InTurn) -> None:
    spoken = turn.speak(np.array(["eve", "ann", "cid"]), ALL)
    assert spoken.scores[0].tolist() == [5, 7]
    assert np.isfinite(spoken.scores[1]).tolist() == [False, True]
    assert (spoken.scores[2] == -np.inf).all()
    assert spoken.speaker[:2].tolist() == [1, 0]


def test_who_could_name_only_what_may_not_be_shown_leaves_the_word_to_the_next(turn: InTurn) -> None:
    spoken = turn.speak(np.array(["ann", "bob"]), np.array([True, False]))
    assert spoken.speaker.tolist() == [1, 0]
    assert spoken.scores[0].tolist() == [5, 7]


def test_reasons_are_those_of_whoever_spoke_and_what_filled_up_has_its_own(turn: InTurn) -> None:
    keys = np.array(["eve", "ann", "cid"])
    spoken = turn.speak(keys, ALL)
    ranking = top_k(spoken.scores, 2, fallback=np.array([2, 1], np.float32))
    eve, ann, cid = turn.reasons(keys, spoken, ranking, "Filled up")
    assert eve == [f"Bought by {count} customers in the last 28 days" for count in (7, 5)]
    assert ann[0].startswith("You bought this on")
    assert ann[1] == "Filled up"
    assert cid == ["Filled up"] * 2


def test_nobody_asked_is_no_error(turn: InTurn) -> None:
    nobody = np.empty(0, dtype=np.str_)
    spoken = turn.speak(nobody, ALL)
    assert spoken.scores.shape == (0, 2)
    assert turn.reasons(nobody, spoken, top_k(spoken.scores, 2), "Filled up") == []
