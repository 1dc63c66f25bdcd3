"""One file per Prefect deployment: wiring and branching. The command line is `flows.__main__`."""

import gc

from infra.configuration.thread_pools import size_pools

size_pools()

# What a flow imports are a million objects that stay: by default a tenth of its start goes into looking for garbage
# among them.
gc.set_threshold(50_000, 10, 10)
