"""The flows, one file per Prefect deployment, and the command line in `flows.__main__`."""

import gc

from infra.configuration.thread_pools import size_pools

size_pools()

# The imports of a flow create a million permanent objects: with default thresholds, garbage collection takes a tenth of
# its start.
gc.set_threshold(50_000, 10, 10)
