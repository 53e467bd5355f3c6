"""How hypothesis runs here: no time limits on an example, and nothing left behind. CI's own settings stay. And real
measurements, where they are."""

from collections.abc import Hashable

import pytest
from hypothesis import HealthCheck, settings

from framehouse.metrics.compare import LogSums
from tests.metrics.encodes import FILE, by_worker

settings.register_profile(
    "framehouse",
    parent=settings(),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("framehouse")


@pytest.fixture(scope="session")
def encodes() -> dict[str, dict[Hashable, LogSums]]:
    """Real encodes by worker, a stratum for each video and configuration."""
    if not FILE.exists():
        pytest.skip(f"the measurements of x264 on 30 workers are not at {FILE}")
    return by_worker()
