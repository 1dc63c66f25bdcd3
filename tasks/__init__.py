"""Everything that reads or writes: each task loads, calls `models`, stores."""

from infra.configuration.thread_pools import size_pools

size_pools()
