"""Recipes: one file each, with `get_config()`; the docstring holds command, cost and score with its source."""
