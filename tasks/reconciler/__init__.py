"""Repairs in small repeated steps what a killed run or a missed event left undone."""
