"""The page of operators: reports, rules with a preview, and their history, through the public API alone."""
