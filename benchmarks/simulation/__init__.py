"""Sweeps simulated from a stated model: do the estimators' intervals cover what they estimate?"""
