"""The pages of operators: reports, rules with a preview, and their history, from `serving/operations`."""
