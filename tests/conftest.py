"""Every run of the suite draws the same examples."""

from hypothesis import settings

settings.register_profile("benchmark", derandomize=True, deadline=None)
settings.load_profile("benchmark")
