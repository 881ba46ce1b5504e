"""Measurements; each writes the table and the picture that stand beside it."""
