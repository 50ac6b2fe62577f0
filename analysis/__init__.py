"""The separation: from tables of trials to effects with intervals, by polars and NumPy alone."""
