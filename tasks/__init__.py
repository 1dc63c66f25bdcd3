"""Everything that reads or writes: each task loads, calls `models`, stores."""
