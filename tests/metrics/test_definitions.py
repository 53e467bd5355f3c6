"""The registry: every formula is over parts that exist, every name ends with its unit."""

from itertools import pairwise

import pytest
from sqlglot import exp, parse_one

from framehouse.errors import ConfigError, QueryError
from framehouse.metrics import METRICS, Metric, metric
from framehouse.metrics.definitions import Better, quantile_parts
from framehouse.metrics.quantities import QUANTITIES, Merge
from framehouse.metrics.rollups import NAMES, ROLLUPS, SOURCES, Rollup
from framehouse.units import UNITS, unit_of
from framehouse.windows import Grain

each_metric = pytest.mark.parametrize("m", METRICS, ids=lambda m: m.name)
each_computed_from_parts = pytest.mark.parametrize(
    "m", [m for m in METRICS if not m.is_priced], ids=lambda m: m.name
)
each_rollup = pytest.mark.parametrize("rollup", ROLLUPS, ids=lambda r: r.name)


def columns(sql: str) -> set[str]:
    return {column.name for column in parse_one(sql, read="postgres").find_all(exp.Column)}


@each_computed_from_parts
def test_a_formula_names_only_parts_that_exist(m: Metric) -> None:
    if m.formula:
        assert m.quantile is None
        assert columns(m.formula) <= set(m.source.part)
        assert columns(m.formula), "a metric is made of parts"
    else:
        assert m.quantile is not None
        assert 0 < m.quantile < 1
        assert m.quantity is not None
        assert set(quantile_parts(m.quantity)) <= set(m.source.part)
        assert m.quantity.histogram_part() in m.source.parts


@each_computed_from_parts
def test_some_rollup_answers_it(m: Metric) -> None:
    parts = frozenset(columns(m.formula)) if m.formula else frozenset(quantile_parts(m.quantity))  # type: ignore[arg-type]
    assert any(rollup.source is m.source and rollup.has(frozenset(), parts) for rollup in ROLLUPS)


@each_metric
def test_a_name_ends_with_its_unit(m: Metric) -> None:
    name = m.name.removesuffix("_per_segment")
    assert m.unit in UNITS
    assert unit_of(name) == m.unit
    assert name.endswith(f"_{m.unit.suffix}")


@each_metric
def test_prose_is_one_or_two_sentences(m: Metric) -> None:
    assert m.prose.endswith(".")
    assert m.prose[0].isupper()
    assert "  " not in m.prose


def test_names_are_said_once() -> None:
    for kind in (METRICS, QUANTITIES, ROLLUPS, *(source.parts for source in SOURCES)):
        names = [item.name for item in kind]
        assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", ["wall_second", "p90_wallseconds", "avg_wall_secs"])
def test_an_unknown_metric_names_its_neighbours(name: str) -> None:
    with pytest.raises(QueryError, match=f"no metric '{name}'") as caught:
        metric(name)
    assert "wall_" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "kind", "better"),
    [
        ("avg_likeness_score", ("score", "likeness"), Better.HIGHER),
        ("p90_boundary_ssim_score", ("score", "boundary_ssim"), Better.HIGHER),
        ("max_lpips_score", ("score", "lpips"), Better.LOWER),
        ("avg_motion_error_score", ("score", "motion_error"), Better.LOWER),
        ("avg_terror_score", ("score", "terror"), Better.HIGHER),
        ("sd_lpips_score", ("score", "lpips"), Better.NEITHER),
        ("avg_vae decode_stage_ms", ("stage", "vae decode"), Better.LOWER),
        ("avg_avg_x_score_score", ("score", "avg_x_score"), Better.HIGHER),
    ],
)
def test_each_score_and_stage_has_metrics_of_its_own(
    name: str, kind: tuple[str, str], better: Better
) -> None:
    found = metric(name)
    assert (found.name, found.where, found.better) == (name, (kind,), better)
    assert found.prose.endswith(f": {kind[1]}.")


@pytest.mark.parametrize("name", ["avg__score", "p42_likeness_score", "avg_sample_stage_seconds"])
def test_what_only_looks_like_the_metric_of_a_score_is_none(name: str) -> None:
    with pytest.raises(QueryError):
        metric(name)


def test_a_metric_without_neighbours_points_to_the_list() -> None:
    with pytest.raises(QueryError) as caught:
        metric("zzzzzzzz")
    assert caught.value.hint == "docs/metrics.md lists them"


def test_a_name_without_a_unit_is_an_error() -> None:
    with pytest.raises(ConfigError, match="does not end in a unit"):
        unit_of("wall_time")


@each_rollup
def test_a_rollup_over_a_finer_one_finds_its_parts_there(rollup: Rollup) -> None:
    if rollup.finer is None:
        return
    [finer] = [candidate for candidate in ROLLUPS if candidate.name == rollup.finer]
    order = [Grain.FINE, Grain.HOUR, Grain.DAY]
    assert order.index(finer.grain) < order.index(rollup.grain)
    assert finer.source is rollup.source
    assert rollup.part_names <= finer.part_names
    assert set(rollup.dimensions) <= set(finer.dimensions)
    assert not [part for part in rollup.parts if part.merge is Merge.HISTOGRAM], "sketches are not nested"


@each_rollup
def test_names_fit_into_identifiers(rollup: Rollup) -> None:
    """PostgreSQL cuts a longer name off without a word."""
    for name in (f"{rollup.name}_cells", *rollup.part_names):
        assert len(name) <= 63


def test_dimensions_with_ids_have_names() -> None:
    for source in SOURCES:
        for dimension, column in source.dimensions.items():
            assert (dimension in NAMES) == column.endswith("_id")


def test_units_scale_within_a_dimension() -> None:
    ordered = sorted((unit for unit in UNITS if unit.dimension == "time"), key=lambda unit: unit.scale)
    assert [unit.suffix for unit in ordered] == ["ms", "seconds", "hours"]
    assert all(finer.scale < coarser.scale for finer, coarser in pairwise(ordered))
