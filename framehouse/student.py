"""Quantiles and tails of Student's t distribution."""

import math
from functools import lru_cache
from statistics import NormalDist

_SERIES_FROM = 200


@lru_cache(maxsize=4096)
def t_quantile(share: float, degrees: int) -> float:
    """The `share` quantile (0 < share < 1) of Student's t with `degrees` (>= 1) degrees of freedom.

    Exact for 1, 2 and 4 degrees; otherwise Newton's method on the distribution function (Abramowitz and Stegun
    26.7.3-4), from the normal quantile; accurate to about 1e-10. From 200 degrees on an expansion in 1 / degrees
    (26.7.5), which is as accurate up to a share of 0.999 and takes the same time for any history.
    """
    if share == 0.5:
        return 0.0
    if share < 0.5:
        return -t_quantile(1 - share, degrees)
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        return (2 * share - 1) / math.sqrt(2 * share * (1 - share))
    normal = NormalDist().inv_cdf(share)
    if degrees >= _SERIES_FROM:
        return _expanded(normal, degrees)
    # Starting beyond the root, on the concave side of the distribution function, Newton's steps never overshoot.
    t = normal + (normal**3 + normal) / (4 * degrees)
    for _ in range(100):
        step = (_distribution(t, degrees) - share) / _density(t, degrees)
        t -= step
        if abs(step) <= 1e-12 * max(1.0, t):
            break
    return t


def t_tails(t: float, degrees: int) -> float:
    """P(|T| > |t|), with `degrees` (>= 1) degrees of freedom.

    From 200 on by the normal distribution (26.7.8), to within a fiftieth of itself where it is above 1e-6.
    """
    t = abs(t)
    if degrees < _SERIES_FROM:
        return max(0.0, 2 * (1 - _distribution(t, degrees)))
    normal = t * (1 - 1 / (4 * degrees)) / math.sqrt(1 + t * t / (2 * degrees))
    return math.erfc(normal / math.sqrt(2))


def _expanded(x: float, degrees: int) -> float:
    """The quantile of t at the share where the normal quantile is x."""
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))


def _density(t: float, degrees: int) -> float:
    ln = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    return math.exp(ln - (degrees + 1) / 2 * math.log1p(t * t / degrees))


def _distribution(t: float, degrees: int) -> float:
    """P(T <= t), by the finite series in cos(theta), theta = atan(t / sqrt(degrees))."""
    theta = math.atan(t / math.sqrt(degrees))
    cosine_sq = math.cos(theta) ** 2
    if degrees % 2:
        term = math.cos(theta)
        total = term if degrees > 1 else 0.0
        for k in range(3, degrees - 1, 2):
            term *= cosine_sq * (k - 1) / k
            total += term
        between = 2 / math.pi * (theta + math.sin(theta) * total)
    else:
        term = total = 1.0
        for k in range(2, degrees - 1, 2):
            term *= cosine_sq * (k - 1) / k
            total += term
        between = math.sin(theta) * total
    return 0.5 + between / 2
