"""Reads what lists are decided from: the champion, segments and consent."""
