"""Tests the statements about a feed whose events stop."""

import numpy as np

from models.columns import EVENT_TYPES
from models.monitoring.drift.feed_health import check_feed
from models.monitoring.drift.signals.user_counts import PLACE, WIDTH


def test_a_shop_with_purchases_only_usually_has_as_many_events_as_purchases() -> None:
    usual = np.zeros((4, WIDTH))
    usual[:, PLACE["types"].start + EVENT_TYPES.index("purchase")] = [1_000, 2_000, 4_000, 1_000]
    stated = {one.check: one.detail for one in check_feed(np.zeros(WIDTH), usual, (0, 20))}
    assert stated["volume"] == "0 events, usually 2,000"
    assert stated["type: purchase"] == "0 events of type purchase, usually 2,000"
