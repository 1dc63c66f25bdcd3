"""Files and folders that other users may neither read nor replace."""
