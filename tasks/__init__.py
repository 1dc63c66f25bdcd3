"""Everything that reads or writes: each task loads, calls `models`, stores."""

from infra.thread_pools import size_pools

size_pools()
