"""A validation with cached configurations has the same findings as one that builds them each time."""

from typing import Any
from unittest.mock import patch

import pandas as pd

from expectations.configuration_cache import cached_configurations
from expectations.contract import profile_suite
from expectations.great_expectations_library import great_expectations

BOUNDS = {"rows": (1.0, None), "share": (None, 0.5), "missing": (0.0, 1.0)}


def validation(**options: Any) -> Any:
    """Validate one row of figures, of which one lies outside of its bounds and one is missing."""
    asset = (
        great_expectations().get_context(mode="ephemeral").data_sources.add_pandas("all").add_dataframe_asset("rows")
    )
    figures = pd.DataFrame({"rows": [5.0], "share": [0.7], "missing": [None]}, dtype=float)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": figures})
    return batch.validate(profile_suite("batch", BOUNDS), **options)


def findings(result: Any) -> list[Any]:
    return [entry.to_json_dict() for entry in result.results]


def test_the_findings_are_those_of_the_library_alone() -> None:
    plain = findings(validation())
    with cached_configurations():
        stored = findings(validation())
    assert stored == plain
    assert [entry["success"] for entry in plain] == [True, False, True]
    assert findings(validation()) == plain


def test_without_the_values_that_are_never_shown_the_counts_stay() -> None:
    counts_alone = {"result_format": {"result_format": "BASIC", "partial_unexpected_count": 0}}
    plain = findings(validation(**counts_alone))
    assert [entry["result"].pop("partial_unexpected_list") for entry in plain] == [[], [], []]
    with cached_configurations():
        assert findings(validation(**counts_alone)) == plain
    assert [entry["result"]["unexpected_count"] for entry in plain] == [0, 1, 0]


def test_each_configuration_is_built_a_few_times_and_not_a_hundred() -> None:
    with cached_configurations():
        validation()  # the library is imported and wrapped
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    with patch.object(ExpectationConfiguration, "__init__", autospec=True, side_effect=_init()) as built:
        with cached_configurations():
            validation()
        assert built.call_count < 20 * len(BOUNDS)


def _init() -> Any:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationConfiguration.__init__
