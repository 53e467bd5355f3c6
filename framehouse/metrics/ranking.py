"""Which worker is faster on the same work: multiplicative effects of workers, with ties where nothing is clear.

What an attempt takes is what its workflow and tier take, times a factor of its worker. On logarithms that is a two-way
model; the factors come from least squares over the cells (a workflow and tier on a worker), each weighing its
attempts. How sure they are comes from the scatter of whole strata around the model (a sandwich estimate clustered by
stratum), because a worker that is slow at one workflow's first attempt is slow at the next one too.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framehouse.errors import QueryError
from framehouse.metrics.answers import Filter
from framehouse.metrics.compare import LEVEL, MANY_STRATA, SMALLEST, WIDEST, LogSums
from framehouse.metrics.definitions import Better
from framehouse.metrics.histories import compared, totals
from framehouse.metrics.provenance import Provenance, resting_on
from framehouse.metrics.read import Reader
from framehouse.student import t_quantile
from framehouse.warehouse import Warehouse
from framehouse.windows import Window

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A worker beside the mean of those it can be compared with: 0.9 takes a tenth less for the same work.

    low, high   simultaneous confidence interval of the factor
    rank        from 1, the fastest; those that are not clearly slower than the first of a rank share it
    group       workers of different groups share no work, not even through others, and cannot be compared
    """

    worker: str
    factor: float
    low: float
    high: float
    count: int
    strata_count: int
    rank: int
    group: int


def ranking(
    histories: Mapping[str, Mapping[Hashable, LogSums]], *, level: float = LEVEL, smallest: float = SMALLEST
) -> list[Ranked]:
    """Workers by what they take for the same work, the fastest first, group by group."""
    found: list[Ranked] = []
    for group, workers in enumerate(_connected(histories)):
        found += _ranked({w: histories[w] for w in workers}, group, level, smallest)
    return found


def rank_workers(
    warehouse: Warehouse,
    quantity: str = "wall_seconds_per_segment",
    *,
    window: Window,
    where: Mapping[str, Filter] | None = None,
    level: float = LEVEL,
) -> tuple[list[Ranked], Provenance]:
    """The workers of a window by what they take for the same workflow and tier, the fastest first.

    Raises QueryError for a quantity of which less is not better.
    """
    if compared(quantity).better is not Better.LOWER:
        raise QueryError(
            f"workers are not ranked by {quantity!r}",
            hint="by what they take, such as wall_seconds_per_segment",
        )
    with warehouse.session(is_snapshot=True) as session:
        found, read = totals(
            session, quantity, window=window, by="worker", strata=("workflow", "tier"), where=where
        )
        counted = Reader(session, window=window, where=where).provenance()
    return ranking(found, level=level), resting_on([counted], [read])


def _connected(histories: Mapping[str, Mapping[Hashable, LogSums]]) -> list[list[str]]:
    """Workers that share strata, directly or through others; the largest group first."""
    groups: list[tuple[set[str], set[Hashable]]] = []
    for worker, history in histories.items():
        own = {key for key, sums in history.items() if sums.count}
        if not own:
            continue
        joined = [group for group in groups if group[1] & own]
        groups = [group for group in groups if group not in joined]
        groups.append((
            {worker}.union(*(group[0] for group in joined)), own.union(*(group[1] for group in joined))
        ))  # fmt: skip
    return sorted((sorted(workers) for workers, _ in groups), key=lambda workers: (-len(workers), workers))


def _ranked(
    histories: Mapping[str, Mapping[Hashable, LogSums]], group: int, level: float, smallest: float
) -> list[Ranked]:
    workers = list(histories)
    shared = sorted({key for history in histories.values() for key in history}, key=repr)
    counts, means, variances = (np.zeros((len(shared), len(workers))) for _ in range(3))
    rows = {key: row for row, key in enumerate(shared)}
    for column, worker in enumerate(workers):
        for key, sums in histories[worker].items():
            if sums.count:
                counts[rows[key], column], means[rows[key], column] = sums.count, sums.mean
                variances[rows[key], column] = sums.variance if sums.count > 1 else np.nan
    kept = (counts > 0).sum(axis=1) > 1  # work that one worker alone did says nothing of the others
    counts, means, variances = counts[kept], means[kept], variances[kept]
    if len(workers) == 1 or not kept.any():
        return [_alone(worker, histories[worker], group) for worker in workers]
    effects, covariance, degrees = _effects(counts, means, variances)
    pairs = len(workers) * (len(workers) - 1) / 2
    beyond = t_quantile(1 - (1 - level) / 2 / pairs, degrees)
    reach = t_quantile(1 - (1 - level) / 2 / len(workers), degrees) * np.sqrt(np.diag(covariance))
    found: list[Ranked] = []
    first = rank = 0
    for place, one in enumerate(np.argsort(effects, kind="stable").tolist(), 1):
        apart = effects[one] - effects[first]
        spread = covariance[one, one] + covariance[first, first] - 2 * covariance[one, first]
        if place == 1 or (apart > beyond * math.sqrt(max(spread, 0.0)) and apart >= math.log1p(smallest)):
            first, rank = one, place
        found.append(
            Ranked(
                workers[one],
                math.exp(effects[one]),
                *_between(effects[one], reach[one]),
                int(counts[:, one].sum()),
                int((counts[:, one] > 0).sum()),
                rank,
                group,
            )
        )
    return found


def _between(effect: float, reach: float) -> tuple[float, float]:
    """The interval of a factor; anything, where it would be wider than says something."""
    return (math.exp(effect - reach), math.exp(effect + reach)) if reach <= WIDEST else (0.0, math.inf)


def _alone(worker: str, history: Mapping[Hashable, LogSums], group: int) -> Ranked:
    count = sum(sums.count for sums in history.values())
    return Ranked(worker, 1.0, 0.0, math.inf, count, len(history), 1, group)


def _effects(counts: Floats, means: Floats, variances: Floats) -> tuple[Floats, Floats, int]:
    """Logarithms of the workers' factors (their mean is 0), their covariance, and its degrees of freedom.

    counts, means, variances   [strata, workers], of logarithms; nan where there is no variance
    """
    strata, workers = counts.shape
    whole = counts.sum(axis=1, keepdims=True)
    shares = counts / whole
    # The normal equations, after the strata's own means are eliminated; a Laplacian, singular along "all alike".
    laplacian = np.diag(counts.sum(axis=0)) - counts.T @ shares
    even = np.full((workers, workers), 1 / workers)
    inverse = np.linalg.inv(laplacian + even) - even
    centred = means - (shares * means).sum(axis=1, keepdims=True)
    effects = inverse @ (counts * centred).sum(axis=0)
    if strata >= MANY_STRATA:
        rest = means - effects
        scores = counts * (rest - (shares * rest).sum(axis=1, keepdims=True))
        return effects, inverse @ (scores.T @ scores) @ inverse * strata / (strata - 1), strata - 1
    degrees = np.where(counts > 1, counts - 1, 0)
    pooled = float(np.nansum(variances * degrees) / max(degrees.sum(), 1))
    scatter = np.where(np.isnan(variances), pooled, variances)
    meat = np.zeros((workers, workers))
    for stratum in range(strata):
        # How each worker's mean moves the right-hand side of the normal equations.
        moves = np.diag(counts[stratum]) - np.outer(shares[stratum], counts[stratum])
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(counts[stratum] > 0, scatter[stratum] / counts[stratum], 0.0)
        meat += moves @ np.diag(spread) @ moves.T
    return effects, inverse @ meat @ inverse, max(int(degrees.sum()), 1)
