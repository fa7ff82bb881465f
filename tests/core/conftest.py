"""Settings of the tests of the core."""

from hypothesis import settings

# the same examples in every run, so that CI is stable; no deadline, since machines differ
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")
