"""User segments by purchases and by traits."""
