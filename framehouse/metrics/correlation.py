"""Which parameters go with which scores, within one workflow: correlations with intervals, from raw rows.

No rollup keeps parameters. The coefficient is Pearson's; its interval comes from Fisher's z = atanh(r), which is about
normal with variance 1 / (n - 3) (Fisher 1921), at one level for all pairs together (Bonferroni). What goes together
need not be cause and effect: whoever raises the steps for hard scenes finds that more steps go with lower scores.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from framehouse.errors import NoAnswerError, QueryError
from framehouse.metrics.compare import LEVEL
from framehouse.metrics.read import Reader
from framehouse.metrics.table import number

#: About so many attempts are read of more: they tell a coefficient to within 0.02.
ENOUGH = 10_000
#: Fewer attempts say nothing of how a parameter goes with a score.
FEWEST = 10
#: Weaker ones explain less than a hundredth of the score's variance.
WEAKEST = 0.1
_DIMENSIONS = ("tier", "worker", "project")


@dataclass(frozen=True, slots=True)
class Correlation:
    """One parameter and one score: from -1 to 1, with an interval that holds for all pairs of the answer together."""

    parameter: str
    score: str
    coefficient: float
    low: float
    high: float
    count: int
    is_clear: bool


def correlations(reader: Reader, *, level: float = LEVEL) -> list[Correlation]:
    """Every numeric parameter with every score of one workflow's succeeded attempts, the strongest first.

    Of more than 10,000 attempts about that many are read, drawn by their jobs. Pairs of fewer than 10 attempts, and
    parameters that never change, are left out. Raises QueryError unless the reader keeps one workflow, and
    NoAnswerError where raw rows of the window were dropped.
    """
    chosen, window, raw_from = reader.filters, reader.window, reader.raw_from
    if len(chosen.get("workflow", ())) != 1:
        raise QueryError("correlations are of one workflow at a time", hint="name one")
    if left := sorted(set(chosen) - {"workflow", *_DIMENSIONS}):
        raise QueryError(
            f"correlations cannot be asked by {left[0]!r}", hint=f"ask by one of: {', '.join(_DIMENSIONS)}"
        )
    if raw_from is not None and window.start < raw_from:
        raise NoAnswerError(
            f"raw data before {raw_from:%Y-%m-%d %H:%M} UTC was dropped, and no rollup keeps parameters",
            hint=f"begin the window at {raw_from.isoformat()} or later",
        )
    [known] = reader.table("succeeded_count")
    share = max(1, min(1024, round(1024 * ENOUGH / (number(known["succeeded_count"]) or 1))))
    # No id is negative: -1 stands for "none given".
    allowed = {
        dimension: [-1 if value is None else value for value in chosen[dimension]]
        if dimension in chosen
        else None
        for dimension in ("workflow", *_DIMENSIONS)
    }
    rows = reader.session.rows(
        "metrics.correlations",
        {"start": window.start, "end": window.end, "fewest": FEWEST, "share": share, **allowed},
    )
    reader.note_raw("no rollup keeps parameters")
    found = [
        _told(row["parameter"], row["score"], row["coefficient"], row["count"], len(rows), level)
        for row in rows
    ]
    return sorted(found, key=lambda one: (-abs(one.coefficient), one.parameter, one.score))


def _told(
    parameter: str, score: str, coefficient: float, count: int, pairs: int, level: float
) -> Correlation:
    coefficient = max(-1.0, min(1.0, coefficient))
    reach = NormalDist().inv_cdf(1 - (1 - level) / 2 / pairs) / math.sqrt(count - 3)
    z = math.atanh(coefficient) if abs(coefficient) < 1 else math.copysign(math.inf, coefficient)
    low, high = math.tanh(z - reach), math.tanh(z + reach)
    is_clear = (low > 0 or high < 0) and abs(coefficient) >= WEAKEST
    return Correlation(parameter, score, coefficient, low, high, count, is_clear)
