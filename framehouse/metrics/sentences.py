"""A comparison in one sentence that a producer can act on."""

from collections.abc import Sequence
from dataclasses import dataclass

from framehouse.metrics.compare import Difference, Unclear


@dataclass(frozen=True, slots=True)
class Finding:
    """A quantity's difference: the second side beside the first. `is_better` is None where nobody prefers either."""

    quantity: str
    difference: Difference
    is_better: bool | None


def sentence(first: str, second: str, findings: Sequence[Finding]) -> str:
    """What is clear of the second beside the first, better and worse set against each other; or that nothing is.

    "Workflow b is 20 % slower than a (15-25 %, n = 412) but takes 10 % less GPU time (8-12 %, n = 412)."
    """
    known = [finding for finding in findings if finding.difference.ratio is not None]
    if not known:
        reasons = {finding.difference.reason for finding in findings}
        why = next(words for reason, words in _NOT_COMPARED.items() if reason in reasons)
        return f"{first} and {second} {why}, so they cannot be compared."
    clear = [finding for finding in known if finding.difference.is_clear]
    if not clear:
        count = max(sum(finding.difference.counts) for finding in known)
        return f"No clear difference between {first} and {second} (n = {count:,}).{_but(findings)}"
    # What speaks for one side together, then what speaks for the other.
    side = clear[0].is_better
    clear = sorted(clear, key=lambda finding: (finding.is_better is not side, finding.is_better is not None))
    told = [_phrase(finding) for finding in clear]
    words = f"{second} {told[0][0]} than {first} {told[0][1]}"
    for before, finding, (phrase, interval) in zip(clear, clear[1:], told[1:], strict=False):
        is_against = {side, finding.is_better} == {True, False} and finding.is_better is not before.is_better
        joint = " but" if is_against else " and"
        words += f"{joint} {phrase} {interval}"
    return f"{words}.{_but(findings)}"


def _but(findings: Sequence[Finding]) -> str:
    """That the work itself was not compared, where something else was."""
    if any(finding.difference.reason is Unclear.OTHER_WORK for finding in findings):
        return " They did work of other sizes, so what it takes cannot be compared."
    return ""


#: The reason that says most comes first.
_NOT_COMPARED = {
    Unclear.OTHER_WORK: "did work of other sizes",
    Unclear.NOTHING_ALIKE: "have done nothing alike",
    Unclear.TOO_FEW_SAMPLES: "have too few samples",
    Unclear.NOT_POSITIVE: "have values of 0 and below",
}

_PHRASES: dict[str, tuple[str, str]] = {
    "wall_seconds": ("takes {} more time", "takes {} less time"),
    "wall_seconds_per_segment": ("is {} slower", "is {} faster"),
    "cold_wall_seconds": ("takes {} more time from cold", "takes {} less time from cold"),
    "time_per_frame_ms": ("is {} slower per frame", "is {} faster per frame"),
    "rtf": ("is {} faster per second of input", "is {} slower per second of input"),
    "gpu_seconds": ("takes {} more GPU time a job", "takes {} less GPU time a job"),
    "gpu_seconds_per_segment": ("takes {} more GPU time", "takes {} less GPU time"),
    "cold_gpu_seconds": ("takes {} more GPU time from cold", "takes {} less GPU time from cold"),
    "output_mb": ("writes {} more a job", "writes {} less a job"),
    "output_mb_per_segment": ("writes {} more", "writes {} less"),
}


def _phrase(finding: Finding) -> tuple[str, str]:
    """What is said of a clear difference, and its interval and samples in brackets."""
    told = finding.difference
    assert told.ratio is not None
    assert told.low is not None
    assert told.high is not None
    more, less = _forms(finding.quantity)
    low, high = sorted(abs(edge - 1) * 100 for edge in (told.low, told.high))
    form = more if told.ratio > 1 else less
    interval = f"({_number(low)}-{_number(high)} %, n = {sum(told.counts):,})"
    return form.format(f"{_number(abs(told.ratio - 1) * 100)} %"), interval


def _forms(quantity: str) -> tuple[str, str]:
    """How more and less of a quantity are said."""
    if quantity.endswith("_score"):
        name = _plain(quantity.removesuffix("_score"))
        return f"scores {{}} higher on {name}", f"scores {{}} lower on {name}"
    if quantity.endswith("_stage_ms"):
        name = _plain(quantity.removesuffix("_stage_ms"))
        return f"takes {{}} more time to {name}", f"takes {{}} less time to {name}"
    return _PHRASES.get(quantity, (f"has {{}} more {quantity}", f"has {{}} less {quantity}"))


def _plain(name: str) -> str:
    # Braces would be places for numbers.
    return name.replace("_", " ").replace("{", "(").replace("}", ")")


def _number(percent: float) -> str:
    return f"{percent:.0f}" if percent >= 9.5 else f"{percent:.1f}"
