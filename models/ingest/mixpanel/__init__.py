"""Mixpanel's raw export and profiles: parsing into the canonical schema."""
