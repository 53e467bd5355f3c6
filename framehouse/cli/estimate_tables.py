"""What `framehouse estimate` prints for people."""

from collections.abc import Callable, Iterator
from typing import Any


def show(answer: dict[str, Any]) -> None:
    """Print an answer for people: what is known by workflow and tier, what is not, and the totals."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from framehouse.cli.console import WIDE, for_wide_tables, out

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for scene in answer["scenes"]:
        if scene["estimate"] is not None:
            groups.setdefault((scene["workflow"], scene["tier"] or "-"), []).append(scene)
    if groups:
        console = for_wide_tables()
        # On a narrow terminal GPU and disk are in the totals only, and long names fold.
        is_wide = console.width >= WIDE
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("workflow", overflow="fold")
        table.add_column("tier", overflow="fold")
        for name in ("scenes", "wall", "P10 - P90 each", *(("GPU", "disk") if is_wide else ())):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("from", no_wrap=True)
        for (workflow, tier), scenes in sorted(groups.items()):
            # Names come from people: nothing in them is markup.
            cells = _cells([scene["estimate"] for scene in scenes], is_wide=is_wide)
            table.add_row(escape(workflow), escape(tier), str(len(scenes)), *cells)
        console.print(table)
        out.print()
    if answer["breakdown"]:
        _show_breakdown(answer["breakdown"], answer["totals"]["currency"])
        out.print()
    _show_totals(answer)
    _show_variations(answer)


def _cells(known: list[dict[str, Any]], *, is_wide: bool) -> list[str]:
    low = [e["wall_seconds"]["p10"] for e in known]
    high = [e["wall_seconds"]["p90"] for e in known]
    is_interval = None not in low and None not in high
    count = known[0]["sample_count"]
    return [
        seconds(sum(e["wall_seconds"]["mean"] for e in known)),
        f"{seconds(min(low))} - {seconds(max(high))}"
        if is_interval
        else next(e["interval_reason"] for e in known if e["interval_reason"]).replace("_", " "),
        *([seconds(_sum(known, "gpu_seconds")), mib(_sum(known, "disk_mb"))] if is_wide else []),
        f"{count} sample{'s' if count != 1 else ''}",
    ]


def _sum(known: list[dict[str, Any]], quantity: str) -> float | None:
    values = [e[quantity]["mean"] if e[quantity] else None for e in known]
    return None if None in values else sum(value for value in values if value is not None)


def _show_totals(answer: dict[str, Any]) -> None:
    from rich.markup import escape

    from framehouse.cli.console import out

    totals = answer["totals"]
    lines = [
        ("confidence", answer["confidence"] or "none"),
        ("estimated", f"{answer['estimated_scenes']} of {answer['total_scenes']} scenes"),
        ("GPU time", _total(totals["gpu_hours"], lambda hours: seconds(_times(hours, 3600)))),
        ("work", _total(totals["wall_hours"], lambda hours: seconds(_times(hours, 3600)))),
        ("disk", _total(totals["disk_gb"], lambda size: mib(_times(size, 1024)))),
    ]
    if any(scene["estimate"] and scene["estimate"]["energy_joules"] for scene in answer["scenes"]):
        lines.append(("energy", _total(totals["energy_kwh"], lambda energy: f"{energy:,.2f} kWh")))
    if totals["cost"] is not None and totals["currency"] is not None:
        lines.append(("cost", _total(totals["cost"], lambda cost: f"{cost:,.2f} {totals['currency']}")))
    lines += [("done in", text) for text in _clock(answer)]
    if totals["interval_reason"] is not None:
        lines.append(("interval", f"none of some totals: {totals['interval_reason'].replace('_', ' ')}"))
    for name, value in lines:
        out.print(f"  [bold]{name:<10}[/] {value}")
    for unknown in answer["unknown"]:
        tier = f" at {escape(unknown['tier'])}" if unknown["tier"] else ""
        out.print(
            f"  [yellow]No estimate available[/] for {_scenes(unknown['scene_count'])} of "
            f"{escape(unknown['workflow'])}{tier}: {unknown['reason'].replace('_', ' ')}; not in the totals"
        )
    if answer["estimate_id"]:
        out.print(f"  [bold]{'id':<10}[/] {answer['estimate_id']}")


def _clock(answer: dict[str, Any]) -> Iterator[str]:
    clock = answer["wall_clock_hours"]
    if clock is None:
        yield f"no wall clock: {answer['wall_clock_reason'].replace('_', ' ')}"
        return
    workers = answer["worker_count"]
    done = f"P50 {seconds(clock['p50'] * 3600)}, P90 {seconds(clock['p90'] * 3600)}"
    done = f"{done} on {workers} worker{'s' if workers != 1 else ''}"
    yield f"{done}, without what is unknown" if answer["unknown"] else done
    if clock["p50_with_one_more"] is not None:
        more = f"P50 {seconds(clock['p50_with_one_more'] * 3600)}, P90 {seconds(clock['p90_with_one_more'] * 3600)}"
        yield f"{more} with one worker more"


def _total(total: dict[str, Any] | None, said: Callable[[float], str]) -> str:
    """A mean, and P10 to P90 where it has one."""
    if total is None:
        return "unknown"
    mean = said(total["mean"])
    is_interval = total["p10"] is not None and total["p10"] < total["p90"]
    return f"{mean}  (P10 - P90: {said(total['p10'])} - {said(total['p90'])})" if is_interval else mean


def _show_breakdown(parts: list[dict[str, Any]], currency: str | None, depth: int = 0) -> None:
    from rich.markup import escape

    from framehouse.cli.console import out

    for part in parts:
        name = f"no {part['dimension'].replace('_', ' ')}" if part["name"] is None else part["name"]
        known = (
            ""
            if part["estimated_scenes"] == part["scene_count"]
            else f", {part['estimated_scenes']} estimated"
        )
        count = f"{_scenes(part['scene_count'])}{known}"
        gpu, work = (seconds(_times(part[total], 3600)) for total in ("gpu_hours", "wall_hours"))
        label = "  " * depth + escape(name)
        cost = "" if part["cost"] is None or currency is None else f"  {part['cost']:>7,.2f} {currency}"
        # 80 columns with the cost.
        out.print(f"  {label:<22} {count:<12} GPU {gpu:>9}  work {work:>9}{cost}")
        _show_breakdown(part["parts"], currency, depth + 1)


def _show_variations(answer: dict[str, Any]) -> None:
    from rich.markup import escape

    from framehouse.cli.console import out

    for other in answer["what_if"]:
        totals = other["totals"]
        gpu = None if totals["gpu_hours"] is None else totals["gpu_hours"]["mean"]
        said = [f"GPU {seconds(_times(gpu, 3600))}{_change(other['gpu_hours_change_ratio'])}"]
        if totals["cost"] is not None and totals["currency"] is not None:
            cost = f"{totals['cost']['mean']:,.2f} {totals['currency']}"
            said.append(f"cost {cost}{_change(other['cost_change_ratio'])}")
        clock = next(_clock(other))
        is_known = other["wall_clock_hours"] is not None
        said.append(f"done in {clock}{_change(other['wall_clock_change_ratio'])}" if is_known else clock)
        if other["unknown"]:
            said.append(
                f"{_scenes(sum(part['scene_count'] for part in other['unknown']))} without an estimate"
            )
        out.print(f"  [bold]if {escape(other['name'])}[/]: {'; '.join(said)}")


def _scenes(count: int) -> str:
    return f"{count} scene{'s' if count != 1 else ''}"


def _change(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:+.0%})"


def seconds(value: float | None) -> str:
    """A duration as people read it."""
    if value is None:
        return "unknown"
    if value < 120:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def mib(value: float | None) -> str:
    """A size in MiB as people read it."""
    if value is None:
        return "unknown"
    return f"{value:.2f} MiB" if value < 1024 else f"{value / 1024:.1f} GiB"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
