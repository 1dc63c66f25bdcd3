"""Renders the pages and plots of reviews, drift reports and audits."""
