"""Offers are features only if the shop knew them at the moment."""

from datetime import UTC, datetime

import pytest

from benchmarks.offers import COUPONS, ITEMS, SENT, tables

MOMENT = int(datetime(2017, 11, 1, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("query", [SENT, COUPONS])
def test_only_coupons_of_campaigns_that_run_at_the_moment_are_known(query: str) -> None:
    with tables() as connection:
        found = connection.sql(query, params={"moment": MOMENT})
        campaigns = {row[0] for row in found.select("campaign_id").distinct().fetchall()}
        running = connection.sql(
            "SELECT campaign_id FROM campaign_descriptions "
            "WHERE start_date < DATE '2017-11-01' AND end_date >= DATE '2017-11-01'"
        )
        assert campaigns == {row[0] for row in running.fetchall()}


def test_displays_and_mailers_are_those_of_the_running_week_and_the_four_before() -> None:
    values = "('a', '1', '9', '0', 45), ('a', '2', '0', 'A', 45), ('a', '1', '9', '0', 41)"
    other_weeks = "('b', '1', '9', 'A', 40), ('c', '1', '9', 'A', 46)"
    names = "product_id, store_id, display_location, mailer_location, week"
    with tables() as connection:
        connection.execute(
            f"CREATE OR REPLACE VIEW promotions AS SELECT * FROM (VALUES {values}, {other_weeks}) AS rows({names})"
        )
        rows = connection.sql(ITEMS, params={"moment": MOMENT}).fetchall()
    assert rows == [("a", 0.5, 0.5, pytest.approx(0.2), pytest.approx(0.1))]
