"""Prints what tea-tasting makes of the users of a CSV file, as JSON. It runs in an environment of its own."""

import json
import sys

import pandas as pd
import tea_tasting as tt  # type: ignore[import-not-found]  # it is not among the project's packages

_METRICS = {
    "click_through": tt.RatioOfMeans("clicks", "impressions", "clicks_before", "impressions_before"),
    "conversion": tt.Mean("bought", "bought_before"),
    "order_value": tt.RatioOfMeans("revenue", "orders", "revenue_before", "orders_before"),
    "revenue_per_user": tt.Mean("revenue", "revenue_before"),
    "repeat_visits": tt.Mean("again", "again_before"),
}
_FIGURES = ("control", "treatment", "pvalue", "rel_effect_size", "rel_effect_size_ci_lower", "rel_effect_size_ci_upper")

if __name__ == "__main__":
    found = tt.Experiment(_METRICS).analyze(pd.read_csv(sys.argv[1]))
    print(json.dumps({name: [float(getattr(found[name], figure)) for figure in _FIGURES] for name in _METRICS}))
