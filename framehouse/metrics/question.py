"""What can be asked of a source, and which parts the answer takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache

from sqlglot import exp, parse_one

from framehouse.errors import QueryError
from framehouse.metrics.definitions import Metric, quantile_parts
from framehouse.metrics.quantities import Part, Quantity
from framehouse.metrics.rollups import Source
from framehouse.windows import Grain, Window
from framehouse.zones import zone

DIALECT = "postgres"


@dataclass(frozen=True)
class Question:
    """What is asked of one source: metrics by dimensions over a window, per bucket of a grain (None: one total).

    `where` maps a dimension to the ids (or values) it may have; None among them stands for "none given".
    """

    source: Source
    metrics: tuple[Metric, ...]
    by: tuple[str, ...]
    window: Window
    grain: Grain | None = None
    zone_name: str = "UTC"
    where: Mapping[str, tuple[int | str | None, ...]] = field(default_factory=dict)

    @property
    def dimensions(self) -> frozenset[str]:
        return frozenset(self.by) | frozenset(self.where)

    def check(self) -> None:
        """Raise QueryError for a zone or a dimension that there is not, and for sums of what does not add up."""
        zone(self.zone_name)
        for name in (*self.by, *self.where):
            if name not in self.source.dimensions:
                raise QueryError(
                    f"{self.source.name} cannot be asked by {name!r}",
                    hint=f"ask by one of: {', '.join(self.source.dimensions)}",
                )
        if (kind := self.source.kind) is not None and kind not in self.dimensions:
            raise QueryError(
                f"{self.source.name} of different names cannot be added up",
                hint=f"ask by {kind!r}, or for one of them, such as {self.source.example}",
            )

    @property
    def quantiles(self) -> tuple[Quantity, ...]:
        """Quantities whose histograms are needed."""
        return quantiles_of(self.metrics)

    def parts(self) -> frozenset[str]:
        """The parts that the formulas and the quantiles' frames need."""
        return frozenset(parts_of(self.source, self.metrics))

    def histograms(self) -> frozenset[str]:
        """The parts that hold the histograms."""
        return frozenset(quantity.histogram_part().name for quantity in self.quantiles)


def quantiles_of(metrics: tuple[Metric, ...]) -> tuple[Quantity, ...]:
    """Quantities whose histograms some metrics need."""
    return tuple(
        {m.quantity.name: m.quantity for m in metrics if m.quantile is not None and m.quantity}.values()
    )


@lru_cache(512)
def parts_of(source: Source, metrics: tuple[Metric, ...]) -> dict[str, Part]:
    """The parts that formulas and the frames of quantiles need, by name."""
    names = {name for metric in metrics if metric.formula for name in names_in(metric.formula)}
    for quantity in quantiles_of(metrics):
        names |= set(quantile_parts(quantity))
    return {name: source.part[name] for name in sorted(names)}


@cache
def parsed(text: str) -> exp.Expr:
    """A formula or a part's expression; not to be changed."""
    return parse_one(text, read=DIALECT)


@cache
def names_in(formula: str) -> frozenset[str]:
    """The parts that a formula needs."""
    return frozenset(column.name for column in parsed(formula).find_all(exp.Column))
