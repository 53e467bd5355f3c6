"""Figures as tables for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure

About = Mapping[str, str | int | float]


def show(console: Console, title: str, figures: Sequence[Figure]) -> None:
    """One benchmark's table."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("attempts / days", justify="right")
    table.add_column("what")
    for name in ("ours", "baseline", "ratio", "bar", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for figure in figures:
        table.add_row(
            figure.size,
            figure.name,
            f"{number(figure.ours)} {figure.unit}",
            "" if figure.baseline is None else f"{number(figure.baseline)} {figure.unit}",
            "" if figure.ratio is None else f"{figure.ratio:.2f} {figure.says}",
            bar(figure),
            str(figure.n),
            style="red" if figure.is_met is False else None,
        )
    console.print(table)


def write_markdown(path: Path, about: About, titled: Mapping[str, Sequence[Figure]]) -> None:
    """Everything as Markdown, a table a benchmark."""
    parts = [", ".join(f"{name} {value}" for name, value in about.items())]
    parts += [f"### {title}\n\n{_markdown(figures)}" for title, figures in titled.items()]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _markdown(figures: Sequence[Figure]) -> str:
    lines = [
        "| attempts / days | what | ours | baseline | ratio | bar | n |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for f in figures:
        baseline = "" if f.baseline is None else f"{number(f.baseline)} {f.unit}"
        ratio = "" if f.ratio is None else f"{f.ratio:.2f} {f.says}"
        lines.append(
            f"| {f.size} | {f.name} | {number(f.ours)} {f.unit} | {baseline} | {ratio} | {bar(f)} | {f.n} |"
        )
    return "\n".join(lines)


def write_json(path: Path, about: About, found: Mapping[str, Sequence[Figure]]) -> None:
    """Everything, with the machine it was measured on."""
    document = {
        "about": dict(about),
        "figures": [
            {"benchmark": name} | asdict(figure) for name, figures in found.items() for figure in figures
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def number(value: float) -> str:
    """Three digits that count, thousands with commas."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bar(figure: Figure) -> str:
    """What the ratio should be, and whether it is."""
    if figure.bar is None:
        return ""
    sign = "≤" if figure.is_ceiling else "≥"
    return f"{sign} {figure.bar:g} {'met' if figure.is_met else 'MISSED'}"
