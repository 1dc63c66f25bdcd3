"""XGBoost comes without scikit-learn, which other code can still import."""

import subprocess
import sys

CODE = """
import sys
from models.ranking.xgboost_library import xgboost

xgboost().Booster()
assert not {"sklearn", "scipy.stats", "scipy.special"} & set(sys.modules)
import sklearn.metrics
assert xgboost() is sys.modules["xgboost"]
"""

PLAIN = """
import sys
import xgboost
assert "sklearn" in sys.modules, "XGBoost no longer imports scikit-learn: delete models.ranking.xgboost_library"
"""


def test_xgboost_still_imports_scikit_learn_by_itself_so_that_the_hook_is_needed() -> None:
    subprocess.run([sys.executable, "-c", PLAIN], check=True)


def test_xgboost_is_imported_without_scikit_learn_and_other_threads_still_see_it() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
