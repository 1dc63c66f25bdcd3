"""What operators do and see: changes of rules, previews of lists, and reports, without HTTP."""
