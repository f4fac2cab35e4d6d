"""Shared by all tests: what hypothesis does where."""

import os

from hypothesis import HealthCheck, settings

# A red build must be red again when it is run again; `HYPOTHESIS_PROFILE=explore` looks for new cases.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
