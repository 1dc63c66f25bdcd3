"""Great Expectations is imported without packages that no suite needs, and works."""

import subprocess
import sys

CODE = """
import sys
from expectations.great_expectations_library import great_expectations

gx = great_expectations()
assert not {"scipy.stats", "altair"} & set(sys.modules)
import pandas as pd

frame = pd.DataFrame({"kind": ["a"] * 60 + ["b"] * 40})
asset = gx.get_context(mode="ephemeral").data_sources.add_pandas("all").add_dataframe_asset("rows")
batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
for weights, near in (([0.6, 0.4], True), ([0.1, 0.9], False)):
    partition = {"values": ["a", "b"], "weights": weights}
    found = batch.validate(
        gx.expectations.ExpectColumnKLDivergenceToBeLessThan(column="kind", partition_object=partition, threshold=0.1)
    )
    assert found.success is near, found
import scipy.stats

assert sys.modules["scipy.stats"] is scipy.stats and scipy.stats.norm.cdf(0) == 0.5
assert great_expectations() is gx is sys.modules["great_expectations"]
"""


def test_great_expectations_is_imported_without_scipy_stats_and_compares_distributions_all_the_same() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
