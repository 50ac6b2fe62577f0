"""Recipes: one module a study, each with `SPACE` and, in its docstring, the claim and its source."""
