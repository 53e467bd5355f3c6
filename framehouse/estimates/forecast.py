"""What costs will be, judged by what they were: forecasts that the history itself picks, and intervals that hold.

A `Forecaster` follows the costs of one workflow at one tier, one attempt after the other. Several candidates
(`framehouse.estimates.candidates`) predict each attempt before it is known; the pinball loss of each candidate's
quantiles is kept (recent ones weigh more), and for each cost the best so far predicts. Spreads of few samples lean on
the spread that all histories of this cost have, never their level: nothing is guessed from another workflow or tier.
The interval is stretched by what recent intervals of as many samples missed on either side (adaptive conformal
inference: Gibbs and Candes 2021, on the logarithm of the stretch), so that one in ten costs lies below P10 and one in
ten above P90. Cold starts are apart: the candidates see warm attempts only, and what a cold start adds is kept beside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framehouse.estimates import outlook as outlooks
from framehouse.estimates.candidates import (
    BASES,
    HALF_LIVES,
    MEAN,
    MEDIAN,
    SAME,
    SHARES,
    SPREAD_PRIOR,
    WORKERS,
    Array,
    Table,
    recency,
)
from framehouse.estimates.memory import (
    BUCKETS,
    NO_WORKER,
    Sample,
    Shared,
    judgement_layout,
    ln_works,
    sample_layout,
)
from framehouse.estimates.outlook import INTERVAL_FROM, Outlook, Predicted, cold_parts
from framehouse.estimates.totals import FURTHEST_STRETCH, Blocks

Known = npt.NDArray[np.bool_]

#: Attempts of a workflow and tier that are remembered one by one.
WINDOW = 128
#: As many samples as this weigh as much as what all histories have in common when a candidate is chosen.
_CHOICE_PRIOR = 10.0
_FORGET_LOSS, _FORGET_SHARED = 0.99, 0.999
_STRETCH_RATE, _OWN_STRETCH_RATE = 0.01, 0.01
_FURTHEST = 5.0
_COLD_HALF_LIFE = 16.0
#: A cold start that takes less than this share of the median more is none to speak of.
_LEAST_EXTRA = 0.01


@dataclass(frozen=True, slots=True)
class Prediction:
    """A cost in its own unit: its mean and median, and P10 and P90 where there are three samples and more.

    basis and worker say by which yardstick; sample_count of how many of the attempts that are remembered.
    """

    mean: float
    p10: float | None
    p50: float
    p90: float | None
    basis: str
    worker: str
    sample_count: int


class Forecaster:
    """The costs of one workflow at one tier."""

    def __init__(
        self,
        shared: Shared,
        *,
        samples: npt.NDArray[np.void] | None = None,
        judgement: np.void | None = None,
        history: int = 0,
    ) -> None:
        """`samples` and `judgement` go on from where an earlier one was; `history` is a number of its own."""
        self._shared = shared
        self._history = history
        self.samples = np.empty(0, sample_layout(shared.costs)) if samples is None else samples
        self.judgement = np.zeros(1, judgement_layout(shared.costs))[0] if judgement is None else judgement
        self._blocks = Blocks(self.judgement["blocks"], shared.record["blocks"], history)
        self._known: tuple[Table, Outlook] | None = None

    def predict(
        self, works: Mapping[str, float], worker: int | None = None, cost: int = 0
    ) -> Prediction | None:
        """What an attempt with these amounts of work will cost, on that worker or on any; None without history."""
        _, outlook = self._now()
        effect = self._shared.effect(worker, self._workers())
        levels = outlook.levels(ln_works(works)[None], effect, self._own(worker))
        said = outlook.predict(levels)
        middle = float(said.p50[0, cost])
        if math.isnan(middle):
            return None
        low, high = (float(end[0, cost]) for end in (said.p10, said.p90))
        return Prediction(
            mean=float(said.mean[0, cost]),
            p10=None if math.isnan(low) else low,
            p50=middle,
            p90=None if math.isnan(high) else high,
            basis=BASES[said.basis[0, cost]],
            worker=WORKERS[said.worker[0, cost]],
            sample_count=int(outlook.record["counts"][cost]),
        )

    def outlook(self) -> Outlook:
        """What is predicted from now on."""
        return self._now()[1]

    def factors(self, cost: int) -> dict[int, float]:
        """By how much (ln) each worker takes more or less of a cost; empty where that tells nothing."""
        table, outlook = self._now()
        worker, basis = outlook.yardstick(cost)
        if worker == "any":
            return {}
        found = {}
        for name in self._shared.comparable(self._workers()):
            own = table.own(name)[cost, basis] if worker == "own" else math.nan
            found[name] = float(self._shared.effects[name][cost, 1] + (0.0 if math.isnan(own) else own))
        return found

    def learn(self, sample: Sample) -> None:
        """Take note of what an attempt cost, and of how well each candidate had foreseen it."""
        if len(self.samples):
            self._judge(sample.amounts, ln_works(sample.works), sample)
        self.remember([sample])

    def remember(self, samples: Sequence[Sample]) -> None:
        """Take note of what attempts cost, and of nothing else."""
        rows = np.zeros(len(samples), self.samples.dtype)
        for row, sample in zip(rows, samples, strict=True):
            row["finished_us"], row["identity"] = sample.finished_us, sample.identity
            row["worker"] = NO_WORKER if sample.worker is None else sample.worker
            row["gpu_model"], row["is_cold"] = sample.gpu_model, sample.is_cold is True
            row["costs"] = sample.amounts
            row["ln_works"] = ln_works(sample.works)
        self.replace(np.concatenate([self.samples, rows]))

    def replace(self, samples: npt.NDArray[np.void]) -> None:
        """Remember the newest of these attempts, which are in order, and no others."""
        self.samples = samples[-WINDOW:]
        self._known = None

    def _workers(self) -> list[int]:
        """Who did the attempts that are remembered."""
        workers = self.samples["worker"]
        found: list[int] = np.unique(workers[workers != NO_WORKER]).tolist()
        return found

    def _own(self, worker: int | None) -> Array | None:
        if worker is None or not (self.samples["worker"] == worker).any():
            return None
        return self._now()[0].own(worker)

    def _judge(self, costs: Array, works: Array, sample: Sample) -> None:
        """How well every candidate, the chosen interval and the worker's factor had foreseen this."""
        table, outlook = self._now()
        effect = self._shared.effect(sample.worker, self._workers())
        levels = outlook.levels(works[None], effect, self._own(sample.worker))
        anyhow = outlook.predict(_on_any_worker(levels))
        said = anyhow if effect is None else outlook.predict(levels)
        middle = said.p50[0]
        is_foreseen = (costs > 0) & (middle > 0)
        if not is_foreseen.any():
            return
        by_worker = is_foreseen & (said.worker[0] > 0)
        ln_costs, ln_middle, ln_anyhow = (
            np.log(np.where(is_foreseen, amounts, math.nan)) for amounts in (costs, middle, anyhow.p50[0])
        )
        errors = np.stack([ln_costs - ln_anyhow, ln_costs - ln_middle], axis=1)
        if sample.is_cold is not True:
            self._score(table, levels[0], ln_costs, ln_middle, is_foreseen)
            self._learn_spread(errors, np.stack([is_foreseen, by_worker], axis=1))
            if sample.worker is not None:
                self._learn_effect(table, outlook, ln_costs, works, sample.worker, is_foreseen)
        self._learn_stretch(costs, anyhow, 0, is_foreseen, outlook)
        self._learn_stretch(costs, said, 1, by_worker, outlook)
        self._learn_scatter(
            np.where(is_foreseen, costs, math.nan) / np.where(is_foreseen, anyhow.mean[0], 1.0) - 1,
            is_foreseen,
        )
        self._blocks.learn(outlook, works, np.where(is_foreseen, costs, math.nan))
        self._known = None

    def _learn_stretch(
        self, costs: Array, said: Predicted, kind: int, is_foreseen: Known, outlook: Outlook
    ) -> None:
        low, high = said.p10[0], said.p90[0]
        missed = np.stack([costs < low, costs > high], axis=1) - SHARES[0]
        # A cost that is the same each time lies within however narrow an interval, and says nothing of it.
        is_same = np.abs(costs - said.p50[0]) <= SAME * costs
        missed[~is_foreseen | np.isnan(low) | is_same] = 0.0
        buckets = _bucket(outlook.record["counts"])
        place = np.arange(len(costs)), buckets, kind
        shared, own = self._shared.record["stretch"], self.judgement["stretch"]
        shared[place] = np.clip(shared[place] + _STRETCH_RATE * missed, -FURTHEST_STRETCH, FURTHEST_STRETCH)
        own[:, kind] = np.clip(own[:, kind] + _OWN_STRETCH_RATE * missed, -FURTHEST_STRETCH, FURTHEST_STRETCH)

    def _score(
        self, table: Table, levels: Array, ln_costs: Array, ln_middle: Array, is_foreseen: Known
    ) -> None:
        said = table.statistics[:, [0, 1, 1]] + levels[..., None, None]
        off = np.clip(ln_costs[:, None, None, None, None] - said[..., : len(SHARES)], -1.0, 1.0)
        shares = np.array(SHARES)
        losses = np.empty_like(said)
        losses[..., : len(SHARES)] = np.maximum(shares * off, (shares - 1) * off)
        with np.errstate(over="ignore"):
            actual = np.exp(np.minimum(ln_costs - ln_middle, 5.0))[:, None, None, None]
            relative = actual - np.exp(said[..., MEAN] - ln_middle[:, None, None, None])
        losses[..., MEAN] = np.minimum(relative * relative, 25.0)
        is_known = ~np.isnan(losses).any(axis=(3, 4)) & is_foreseen[:, None, None]
        losses[~is_known] = 0.0
        # A cost that was not measured this time forgets nothing.
        own, shared = (
            np.where(is_foreseen, forget, 1.0)[:, None, None] for forget in (_FORGET_LOSS, _FORGET_SHARED)
        )
        for record, forget in ((self.judgement, own), (self._shared.record, shared)):
            record["losses"] = record["losses"] * forget[..., None, None] + losses
            record["weights"] = record["weights"] * forget + is_known

    def _learn_spread(self, errors: Array, is_foreseen: Known) -> None:
        """How far costs are from their medians everywhere, on which the intervals of few samples lean."""
        _add(self._shared.record["spread"], np.minimum(np.abs(errors), 1.0), is_foreseen, _FORGET_SHARED)

    def _learn_scatter(self, errors: Array, is_foreseen: Known) -> None:
        """How far single jobs are from their mean where nobody knows the worker, which is what totals rest on."""
        errors = np.minimum(errors, _FURTHEST)
        _add(self.judgement["scatter"], errors, is_foreseen, _FORGET_LOSS)
        _add(self._shared.record["scatter"], errors, is_foreseen, _FORGET_SHARED)

    def _learn_effect(
        self,
        table: Table,
        outlook: Outlook,
        ln_costs: Array,
        works: Array,
        worker: int,
        is_foreseen: Known,
    ) -> None:
        """Move the worker's factor by how far this cost is from what it usually is, without any worker's factor; the
        less, the more of what is usual is its own: who works alone is neither fast nor slow."""
        others = [other for other in self._workers() if other != worker]
        if not others:
            return
        level = outlook.yards(works[None])[0, :, 1] + table.statistics[:, 1, :, -1, MEDIAN]  # (C, bases)
        losses = np.where(np.isnan(level), np.inf, self._mean_losses()[:, 1, :, -1, MEDIAN])
        residual = ln_costs - np.take_along_axis(level, losses.argmin(axis=1)[:, None], axis=1)[:, 0]
        known = is_foreseen & ~np.isnan(residual)
        if not known.any():
            return
        if worker not in self._shared.comparable(others):
            self._shared.join(worker, others, np.where(known, residual, math.nan))
        n = outlook.record["counts"][known]
        share = n / (n + 1) * float(np.isin(self.samples["worker"], others).mean())
        effects = self._shared.effects[worker]
        total = effects[known, 0] * _FORGET_SHARED + share
        effects[known, 1] += share * (residual[known] - effects[known, 1]) / total
        effects[known, 0] = total

    def _mean_losses(self) -> Array:
        """Each candidate's loss so far, leaning on how it does elsewhere."""
        shared, own = self._shared.record, self.judgement
        elsewhere = shared["losses"] / np.maximum(shared["weights"], 1e-9)[..., None, None]
        found: Array = (own["losses"] + _CHOICE_PRIOR * elsewhere) / (own["weights"] + _CHOICE_PRIOR)[
            ..., None, None
        ]
        return found

    def _now(self) -> tuple[Table, Outlook]:
        if self._known is None:
            table = self._tabled()
            self._known = table, self._outlook(table)
        return self._known

    def _tabled(self) -> Table:
        """The candidates' table: of warm attempts, unless there are too few of them for an interval."""
        samples = self.samples
        costs = np.where(samples["costs"] > 0, samples["costs"], math.nan)
        warm = costs.copy()
        warm[samples["is_cold"] == 1] = math.nan
        few = (~np.isnan(warm)).sum(axis=0) < INTERVAL_FROM
        warm[:, few] = costs[:, few]
        # The workers' factors of today: where all of them moved since, the level moves back by as much.
        effects = self._shared.effects_of(samples["worker"])
        return Table(np.log(warm), effects, samples["ln_works"], samples["worker"], self._shared.sd)

    def _outlook(self, table: Table) -> Outlook:
        costs = self._shared.costs
        records = np.zeros(1, outlooks.layout(costs))
        record = records[0]
        losses = self._mean_losses()  # (C, workers, bases, half-lives, statistics)
        chosen = losses.argmin(axis=3)  # the half-life, for each statistic
        said = np.take_along_axis(table.statistics[:, [0, 1, 1]], chosen[..., None, :], axis=3)[..., 0, :]
        counts = (~np.isnan(self.samples["costs"])).sum(axis=0)
        stretch = (
            self.judgement["stretch"] + self._shared.record["stretch"][np.arange(costs), _bucket(counts)]
        )
        down, up = np.moveaxis(np.exp(stretch[:, [0, 1, 1]]), 2, 0)[..., None]  # (C, workers, 1)
        low, middle, high = np.moveaxis(said[..., : len(SHARES)], -1, 0)
        said[..., 0] = middle - down * np.maximum(middle - low, SAME)
        said[..., 2] = middle + up * np.maximum(high - middle, SAME)
        record["quantiles"], record["lines"] = said, table.lines
        record["losses"] = losses[..., MEDIAN].min(axis=3)
        record["segments_seen"] = table.segments_seen
        record["counts"] = counts
        record["sd"] = self._sd()
        record["rho"] = self._blocks.rho()
        weights = recency(len(self.samples), HALF_LIVES[-1])[:, None]
        nonzero, known = self.samples["costs"] > 0, ~np.isnan(self.samples["costs"])
        record["known_ratio"] = (weights * nonzero).sum(axis=0) / np.maximum(
            (weights * known).sum(axis=0), 1e-9
        )
        q = 0.5 ** (1 / np.array(HALF_LIVES))
        best = record["losses"].reshape(costs, -1).argmin(axis=1)
        half_life = chosen[..., MEAN].reshape(costs, -1)[np.arange(costs), best]
        record["samples"] = np.minimum(counts, ((1 + q) / (1 - q))[half_life])
        found = Outlook(records)
        self._add_cold_starts(found)
        return found

    def _sd(self) -> Array:
        """How far a job is from its mean in proportion to it, leaning on how far it is everywhere: (C,).

        In logarithms, in which many samples are all that counts, however much less than usual they scatter.
        """
        own, shared = self.judgement["scatter"], self._shared.record["scatter"]
        seen = np.maximum(own[:, 1] / np.maximum(own[:, 0], 1e-9), SAME * SAME)
        usual = np.log(shared[:, 1] / shared[:, 0])
        found: Array = np.exp(
            (own[:, 0] * np.log(seen) + SPREAD_PRIOR * usual) / (own[:, 0] + SPREAD_PRIOR) / 2
        )
        return found

    def _add_cold_starts(self, outlook: Outlook) -> None:
        """What a cold start adds to what a warm one would have cost, and how often there is one."""
        samples = self.samples
        is_cold = samples["is_cold"] == 1
        if not is_cold.any() or is_cold.sum() > len(samples) - INTERVAL_FROM:
            return
        weights = recency(len(samples), _COLD_HALF_LIFE)
        warm = outlook.predict(outlook.levels(samples["ln_works"]))
        extra = (samples["costs"] - warm.p50)[is_cold]
        weight = weights[is_cold, None] * ~np.isnan(extra)
        total = weight.sum(axis=0)
        added = np.maximum(np.nansum(weight * extra, axis=0) / np.maximum(total, 1e-9), 0.0)
        warm_ones = np.flatnonzero(~is_cold)
        middle = warm_ones[np.argsort(warm.p50[warm_ones, 0])[len(warm_ones) // 2]]
        usual = np.stack([warm.p10[middle], warm.p50[middle], warm.p90[middle]], axis=1)
        matters = (added > _LEAST_EXTRA * usual[:, MEDIAN]) & ~np.isnan(usual[:, 0])
        ratio = float(weights[is_cold].sum() / weights.sum())
        record = outlook.record
        record["cold_ratio"][matters], record["cold_extra"][matters] = ratio, added[matters]
        record["cold_parts"][matters] = cold_parts(usual[matters], ratio)


def _add(sums: Array, errors: Array, is_foreseen: Known, forget: float) -> None:
    """Add squared errors to (weight, sum of squares), the last axis of `sums`."""
    added = np.stack([np.ones_like(errors), errors * errors], axis=-1)[is_foreseen]
    sums[is_foreseen] = sums[is_foreseen] * forget + added


def _on_any_worker(levels: Array) -> Array:
    found = levels.copy()
    found[:, :, 1:] = math.nan
    return found


def _bucket(counts: Array) -> npt.NDArray[np.intp]:
    """The number of binary digits of each count, at most the last bucket."""
    found: npt.NDArray[np.intp] = np.minimum(np.frexp(counts)[1], BUCKETS - 1).astype(np.intp)
    return found
