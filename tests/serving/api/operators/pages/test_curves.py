from datetime import date, timedelta

import pytest

from serving.api.operators.pages.curves import HEIGHT, click_curve, money, percent, value_curve
from serving.operations.reports import EarnedWeek


def test_a_plot_has_a_bar_or_a_point_for_each_week_and_a_gap_for_a_week_without_figures() -> None:
    def week(number: int, value: float, rate: float | None) -> EarnedWeek:
        monday = date(2026, 11, 2) + number * timedelta(weeks=1)
        bounds = (None, None) if rate is None else (rate / 2, rate * 2)
        return EarnedWeek(monday, "", 9, 1, 1, 1, value, 50.0, "EUR", rate, *bounds)

    weeks = [week(0, 10.0, 0.1), week(1, 20.0, 0.2), week(2, 0.0, None), week(3, 5.0, 0.1)]
    bars = value_curve(weeks)
    assert [height for *_, height in bars.bars] == [HEIGHT / 2, HEIGHT, 0, pytest.approx(HEIGHT / 4, abs=0.1)]
    curve = click_curve(weeks)
    assert [len(points.split()) for points in curve.lines] == [2, 2]
    assert [len(points.split()) for points in curve.bands] == [4, 4]
    assert (curve.top, curve.first, curve.last) == (0.4, weeks[0].week, weeks[-1].week)
    assert click_curve([week(0, 0.0, None)]).lines == []
    assert value_curve([week(0, 0.0, None)]).bars[0][3] == 0


def test_amounts_and_shares_are_short() -> None:
    texts = percent(0.1234), percent(0.00456), money(12.5, "EUR"), money(12_345.6, None)
    assert [one.replace("\N{NO-BREAK SPACE}", " ") for one in texts] == ["12.3 %", "0.46 %", "12.50 EUR", "12,346"]
