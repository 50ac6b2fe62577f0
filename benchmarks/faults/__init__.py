"""Inject faults into tiny sweeps at random moments, and check that no row changes by a bit."""
