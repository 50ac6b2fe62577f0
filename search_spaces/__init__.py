"""Recipes: one module a study, each with `SPACE`, and the claim and its source in the docstring."""
