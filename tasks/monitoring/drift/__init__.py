"""Compares windows of behaviour and of served lists with calibrated bands."""
