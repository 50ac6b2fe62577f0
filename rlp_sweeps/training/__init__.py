"""Trains one group of trials; torch only."""
