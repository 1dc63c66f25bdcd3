import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.score.synthetic_two_stage import two_stage
from benchmarks.score.two_stage import two_stage_users_per_s, with_candidates


def test_the_made_up_shop_is_ranked_with_as_many_candidates_as_were_asked_for() -> None:
    model = with_candidates(two_stage(400, 60, 8, 10, seed=0), 60)
    ranked = model.ranked(np.arange(60, dtype=np.int32))
    assert 60 * 60 <= len(ranked.row) < 60 * 80
    assert ((ranked.score > 0) & (ranked.score < 1)).all()
    assert len(np.unique(ranked.score)) > 1000


def test_its_speed_is_a_number() -> None:
    assert two_stage_users_per_s(items=400, users=60, candidates=60, dims=8) > 0


def test_weights_and_ranks_are_the_same_to_the_last_digit_on_any_number_of_threads() -> None:
    def result(threads: int, items: int = 1000) -> tuple[list[bytes], list[bytes]]:
        with threadpool_limits(threads, "openmp"):
            model = two_stage(items, 300, 32, 10, seed=0)
            ranked = model.ranked(np.arange(300, dtype=np.int32))
        state = model.ranker.state()
        return [state[name].tobytes() for name in sorted(state)], [part.tobytes() for part in ranked]

    result(1, items=100)  # loads the libraries: a limit holds for what is loaded
    assert result(1) == result(2) == result(5)
