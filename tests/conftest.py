"""Settings of every test run: what hypothesis draws is the same on every machine."""

from hypothesis import settings

settings.register_profile("stable", deadline=None, derandomize=True, database=None)
settings.load_profile("stable")
