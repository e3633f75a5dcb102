"""Settings of all tests: no deadlines, time is measured in benchmarks only."""

from hypothesis import HealthCheck, settings

settings.register_profile("earshot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("earshot")
