"""Settings of a Prefect server for tests that look at neither events nor task runs: it starts and idles for less."""

from typing import Final

_SERVICES: Final = ("TRIGGERS", "EVENT_PERSISTER", "TASK_RUN_RECORDER", "LATE_RUNS")
WITHOUT_BLOCKS: Final = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false"}
"""Without the forty types of blocks that its plugins have; alerts alone need one."""
SMALL_PREFECT: Final = WITHOUT_BLOCKS | {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _SERVICES}
