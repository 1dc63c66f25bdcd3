import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.configuration.thread_pools import _quota, processors

LIBRARIES = "import faiss, implicit.cpu.als, lightfm, sklearn.neural_network, xgboost, scipy.linalg"
# The BLAS of faiss has no threads of its own: it uses OpenMP's.
BLAS = """
from threadpoolctl import threadpool_info
print({pool["num_threads"] for pool in threadpool_info() if pool.get("threading_layer") == "pthreads"})
"""
AT_THE_FIRST_LIBRARY = """
import json, os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            sys.meta_path.remove(self)
            print(json.dumps({{name: os.environ.get(name) for name in {names}}}))

sys.meta_path.insert(0, Watch())
import {entry}
import numpy
"""
"""All libraries with threads of their own import NumPy first."""
OURS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")


def started(program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program without our settings, where each OpenMP prints its own when it is loaded."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | settings
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)


def settings_of(entry: str, **settings: str) -> list[str]:
    """Return the settings, in the order of OURS, of a process of ours when it loads the first native library."""
    done = started(AT_THE_FIRST_LIBRARY.format(entry=entry, names=OURS), **settings)
    return list(json.loads(done.stdout).values())


def openmp(done: subprocess.CompletedProcess[str], name: str) -> set[str]:
    return set(re.findall(rf"{name} = '(\w+)", done.stderr))


@pytest.mark.parametrize("entry", ["flows", "tasks", "serving", "benchmarks", "tasks.tuning.trial_child"])
def test_every_process_of_ours_sizes_its_pools_before_it_loads_a_library(entry: str) -> None:
    assert settings_of(entry) == [str(processors()), "passive", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="the OpenMP of GCC prints these names")
def test_with_these_settings_openmp_waits_asleep_and_blas_has_one_thread() -> None:
    done = started(f"import tasks\n{LIBRARIES}\n{BLAS}")
    assert openmp(done, "OMP_WAIT_POLICY") == {"PASSIVE"}
    assert openmp(done, "GOMP_SPINCOUNT") == {"0"}
    assert openmp(done, "OMP_NUM_THREADS") == {str(processors())}
    assert done.stdout == "{1}\n"


def test_settings_of_the_user_win() -> None:
    assert settings_of("tasks", OMP_WAIT_POLICY="active", OMP_NUM_THREADS="3") == ["3", "active", "1"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_only_processors_that_the_process_may_use_count() -> None:
    one = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, [{one}]); import tasks; print(os.environ['OMP_NUM_THREADS'])"
    assert started(program).stdout == "1\n"


@pytest.mark.parametrize(
    ("granted", "expected"), [("150000 100000", 1.5), ("400000 100000", 4.0), ("max 100000", None), ("", None)]
)
def test_the_quota_of_the_control_group_is_read(tmp_path: Path, granted: str, expected: float | None) -> None:
    own, group = tmp_path / "cgroup", tmp_path / "groups" / "shop.slice"
    own.write_text("1:name=systemd:/ignored\n0::/shop.slice\n")
    group.mkdir(parents=True)
    (group / "cpu.max").write_text(granted)
    assert _quota(own, tmp_path / "groups") == expected
    assert _quota(tmp_path / "none", tmp_path) is None, "there are no control groups"
