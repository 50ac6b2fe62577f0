"""Side-by-side measurements: interleaved rounds in one process, medians of paired ratios."""
