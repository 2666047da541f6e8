"""Recipes: one file each, with `get_config()`; the docstring holds the command and, where there are
any, cost and score with its source."""
