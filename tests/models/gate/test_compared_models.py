from models.gate.review_summary import compared_sentences


def test_a_review_states_what_it_compares_what_it_trains_and_what_it_leaves_out() -> None:
    ranking = {"most_popular": True, "als": False, "two_stage": False}
    assert compared_sentences("v1", ranking, 3, ["item_knn"]) == (
        "Compared on v1: most_popular (trained already); als, two_stage (trained now); the champion, version 3. Left "
        "out: item_knn, trained but not named; --model names all that are compared."
    )


def test_without_a_champion_and_with_nothing_left_out_it_is_one_sentence() -> None:
    assert compared_sentences("v1", {"als": True}) == "Compared on v1: als (trained already)."
