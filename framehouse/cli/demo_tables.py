"""The demo's two tables: what a segment costs, and predicted beside actual."""

from typing import TYPE_CHECKING, Any

from framehouse.cli.console import out
from framehouse.cli.estimate_tables import mib, seconds

if TYPE_CHECKING:
    from rich.table import Table


def show_averages(averages: list[dict[str, Any]]) -> None:
    """What a segment cost so far, by workflow and tier."""
    table = _table("What a segment (2 s of video) costs so far, from the rollups")
    table.add_column("workflow", no_wrap=True)
    table.add_column("tier", no_wrap=True)
    for name in ("samples", "wall", "output", "rtf"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in averages:
        table.add_row(
            row["workflow"],
            row["tier"] or "-",
            str(row["succeeded_count"]),
            seconds(row["avg_wall_seconds_per_segment"]),
            mib(row["avg_output_mb_per_segment"]),
            "unknown" if row["avg_rtf"] is None else f"{row['avg_rtf']:.1f} x",
        )
    out.print()
    out.print(table)
    out.print()


def show_scores(answer: dict[str, Any], scenes: list[dict[str, Any]]) -> None:
    """Each scene's prediction beside what it took."""
    table = _table("Predicted, beside what it took (wall seconds; ✓ within P10 - P90)")
    table.add_column("workflow", no_wrap=True)
    table.add_column("tier", no_wrap=True)
    for name in ("P50", "P10 - P90", "actual  "):
        table.add_column(name, justify="right", no_wrap=True)
    for scene in scenes:
        table.add_row(scene["workflow"], scene["tier"] or "-", *_predicted_and_actual(scene))
    known = [s for s in scenes if s["wall_seconds_mean"] is not None and s["wall_seconds_actual"] is not None]
    predicted = sum(scene["wall_seconds_mean"] for scene in known)
    actual = sum(scene["wall_seconds_actual"] for scene in known)
    table.add_section()
    off = f"{100 * (predicted / actual - 1):+.0f} % off" if actual else ""
    total = f"total of {len(known)}"
    table.add_row(
        f"[bold]{total}[/]", "", f"[bold]{seconds(predicted)}[/]", off, f"[bold]{seconds(actual)}[/]  "
    )
    out.print(table)
    out.print()
    if clock := answer["wall_clock_hours"]:
        low, high = seconds(clock["p50"] * 3600), seconds(clock["p90"] * 3600)
        out.print(
            f"One worker was predicted to need {low} (P50), at most {high} (P90), for what could be estimated."
        )


def _predicted_and_actual(scene: dict[str, Any]) -> list[str]:
    took = scene["wall_seconds_actual"]
    actual = "not stored" if took is None else seconds(took)
    if scene["reason"]:
        return ["", "[yellow]No estimate available[/]", f"{actual} [yellow]?[/]"]
    low, high = scene["wall_seconds_p10"], scene["wall_seconds_p90"]
    middle = seconds(scene["wall_seconds_p50"])
    if low is None or high is None or took is None:
        return [middle, "too few samples", f"{actual}  "]
    mark = "[green]✓[/]" if low <= took <= high else "[red]✗[/]"
    return [middle, f"{seconds(low)} - {seconds(high)}", f"{actual} {mark}"]


def _table(title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
