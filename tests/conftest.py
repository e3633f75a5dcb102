"""Settings of all tests: no deadlines, time is measured in benchmarks only; one thread, so that tests share cores."""

import os

from hypothesis import HealthCheck, Phase, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("earshot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "broken on purpose",
    settings.get_profile("earshot"),
    phases=[Phase.generate],
    database=None,
    report_multiple_bugs=False,
)
settings.register_profile("thorough", settings.get_profile("earshot"), max_examples=2000)
settings.load_profile("earshot")
