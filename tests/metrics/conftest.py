"""How hypothesis runs here: no time limits on an example, and nothing left behind. CI's own settings stay."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "framehouse",
    parent=settings(),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("framehouse")
