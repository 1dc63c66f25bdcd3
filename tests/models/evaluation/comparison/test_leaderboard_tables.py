from models.evaluation.comparison.leaderboard import tables


def row(model: str, ndcg: float, **more: float) -> dict[str, object]:
    figures = {"ndcg_at_10": ndcg, "warm_ndcg_at_10": ndcg, "new_ndcg_at_10": ndcg / 10}
    bounds = {f"{name}{end}": value + step for name, value in figures.items() for end, step in _ENDS.items()}
    plain = {"recall_at_10": 0.1, "hit_rate_at_10": 0.8, "coverage_at_10": 0.25, "warm_users": 1996.0}
    return {"model": model, **figures, **bounds, **plain, **more}


_ENDS = {"_low": -0.01, "_high": 0.01}


def test_each_step_shows_its_gain_over_the_one_above() -> None:
    gained = {"gain": 0.2, "gain_low": -0.1, "gain_high": 0.3}
    result = tables([row("most_popular", 0.2), row("als", 0.4, **gained)])
    title = "All items: each model against the best above it"
    assert result[title] == [
        {
            "model": "most_popular",
            "NDCG@10 (95 %)": "0.2000 (0.1900, 0.2100)",
            "gain (95 %)": "",
            "recall": "0.1000",
            "hit rate": "0.8000",
            "coverage": "0.2500",
        },
        {
            "model": "als",
            "NDCG@10 (95 %)": "0.4000 (0.3900, 0.4100)",
            "gain (95 %)": "+0.2000 (-0.1000, +0.3000)",
            "recall": "0.1000",
            "hit rate": "0.8000",
            "coverage": "0.2500",
        },
    ]


def test_only_parts_with_users_are_shown_and_how_many_they_are() -> None:
    result = tables([row("most_popular", 0.2)])
    all_items = result["All items: NDCG@10 by how long users are known"]
    assert all_items == [{"model": "most_popular", "from 5 baskets on (1,996)": "0.2000 (0.1900, 0.2100)"}]
    assert "Items new to the user: NDCG@10 by how long users are known" not in result
    assert tables([]) == {}


def test_tables_are_at_most_110_characters_wide() -> None:
    gained = {"gain": -0.2, "gain_low": -0.1, "gain_high": 0.3}
    more = {f"{part}users": 1234.0 for part in ("warm_", "cold_", "newcomer_")}
    more |= {f"{p}ndcg_at_10{end}": 0.1 for p in ("cold_", "newcomer_") for end in ("", *_ENDS)}
    for table in tables([row("logistic_regression", 0.2, **gained, **more)]).values():
        width = sum(max(len(name), len(cell)) + 3 for name, cell in table[0].items()) + 1
        assert width <= 110
