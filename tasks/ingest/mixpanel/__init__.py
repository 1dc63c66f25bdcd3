"""Ingests Mixpanel: files of the raw export, and the days and profiles of its API."""
