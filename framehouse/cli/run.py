"""`framehouse run`: run a command, measure it, send the attempt."""

import contextlib
import json
import math
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

from framehouse.config import Settings, settings
from framehouse.errors import FramehouseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.collectors.process import Attempt

OWN_FAILURE = 125  # as of env, timeout and nohup: the command was not started, and it is our fault
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


class _Misuse(click.UsageError):
    exit_code = OWN_FAILURE


class _Runner(click.Command):
    """A command whose own usage errors do not look like the wrapped command's exit codes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _Misuse(error.format_message(), ctx) from None


def name(value: str) -> str:
    """A name that the warehouse can store."""
    text = _unicode(value).strip()
    if not text or len(text) > 200 or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise click.BadParameter("give 1 to 200 characters without control characters")
    return text


def instant(value: str) -> str:
    """An RFC 3339 time, as UTC."""
    try:
        given = datetime.fromisoformat(value)
        if given.tzinfo is None or len(value) < 20:
            raise ValueError
        return given.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no time with an offset, such as 2026-03-01T12:00:00Z"
        ) from None


def pair(value: str) -> tuple[str, str]:
    """NAME=VALUE."""
    key, equals, rest = _unicode(value).partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(f"{_unicode(value)!r} is not NAME=VALUE")
    return key.strip(), rest


def score(value: str) -> tuple[str, float]:
    """NAME=NUMBER."""
    key, text = pair(value)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= 1e12:
        raise click.BadParameter(f"{text!r} is no finite number")
    return key, number


def _unicode(argument: str) -> str:
    """An argument of the command line, whose bytes may be no UTF-8, as text that can be stored."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_COUNT = click.IntRange(0, 2**31 - 1)
_PIXELS = click.IntRange(1, 2**20)


@click.command(cls=_Runner, context_settings={"allow_interspersed_args": False})
@click.option("--workflow", type=name, help="Name of the workflow.  [default: the program's name]")
@click.option("--tier", type=name, help="A known resolution tier, such as draft.")
@click.option("--project", type=name)
@click.option("--character", type=name)
@click.option("--scene", type=name)
@click.option("--scene-type", type=name)
@click.option("--variant", type=name)
@click.option("--worker", type=name, help="[default: this host's name]")
@click.option("--job-id", type=name, help="[default: a new UUID]")
@click.option("--attempt", type=click.IntRange(1, 32767), help="Which try of the job this is.  [default: 1]")
@click.option("--estimate-id", type=click.UUID, help="The stored estimate that this job was part of.")
@click.option("--scene-key", type=name, help="Which scene of that estimate.")
@click.option("--queued-at", type=instant, help="When the job was submitted, RFC 3339.")
@click.option("--eligible-at", type=instant, help="When its dependencies were met, RFC 3339.")
@click.option(
    "--segments", "segment_count", type=_COUNT, default=1, help="How many segments it made.  [default: 1]"
)
@click.option("--frames", "frame_count", type=_COUNT, help="[default: counted in the output, if it is video]")
@click.option("--width", type=_PIXELS, help="[default: of the output, if it is video]")
@click.option("--height", type=_PIXELS, help="[default: of the output, if it is video]")
@click.option(
    "--input", "inputs", multiple=True, metavar="FILE", help="What it reads.  [default: ffmpeg's inputs]"
)
@click.option(
    "--output", "outputs", multiple=True, metavar="FILE", help="File or folder it writes.  [ffmpeg's]"
)
@click.option("--gpu-count", type=click.IntRange(0, 4096), help="GPUs that it holds.  [default: 0]")
@click.option("--gpu-seconds", type=click.FloatRange(0, 1e12), help="[default: GPUs x time held]")
@click.option(
    "--parameter",
    "parameters",
    type=pair,
    metavar="NAME=VALUE",
    multiple=True,
    help="Kept with the attempt; repeat it.",
)
@click.option(
    "--score",
    "quality_scores",
    type=score,
    metavar="NAME=NUMBER",
    multiple=True,
    help="A quality score; repeat it.",
)
@click.option("--show", is_flag=True, help="Print what was measured, on standard error.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    command: tuple[str, ...], inputs: tuple[str, ...], outputs: tuple[str, ...], show: bool, **given: Any
) -> None:
    """Run COMMAND, measure it, and send the attempt to the warehouse.

    Exit code, signals, standard input and output are the command's own. A warehouse that is down never fails the
    job: the attempt then waits on disk for `framehouse load`. FRAMEHOUSE_METRICS=0 runs the command and nothing else.

    \b
    framehouse run --workflow proxy --tier draft -- ffmpeg -i in.mov -vf scale=-2:480 out.mp4
    framehouse run --workflow upscale --gpu-count 1 --output frames/ -- python upscale.py

    Exit codes of its own, as of env and timeout: 125 wrong usage or settings, 126 the command cannot be run, 127 it
    was not found.
    """
    fields = _fields(given)
    try:
        chosen = settings()
    except FramehouseError as error:
        click.echo(f"framehouse: {error}" + (f"; {error.hint}" if error.hint else ""), err=True)
        sys.exit(OWN_FAILURE)
    if not chosen.is_collecting:
        _replace(command)
    from ingest.collectors.process import Labels, measure

    attempt = measure(command, Labels(fields, inputs, outputs), chosen)
    _deliver(attempt, chosen, show=show)
    attempt.ending.leave()


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """The options that are fields of the event, as the event wants them."""
    if given["gpu_seconds"] and not given["gpu_count"]:
        raise _Misuse("--gpu-seconds needs --gpu-count: how many GPUs were held")
    from ingest.collectors.secrets import MASK, masked_text, says_secret

    if given["estimate_id"] is not None:
        given["estimate_id"] = str(given["estimate_id"])
    given["parameters"] = {
        key: MASK if says_secret(key) else _value(masked_text(text)) for key, text in given["parameters"]
    } or None
    given["quality_scores"] = dict(given["quality_scores"]) or None
    return {key: value for key, value in given.items() if value is not None}


def _value(text: str) -> Any:
    """A number or a boolean where the text is one in JSON; otherwise the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    is_number = isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e15
    return value if is_number else text


def _replace(command: "Sequence[str]") -> NoReturn:
    from ingest.collectors.child import replace_with

    try:
        replace_with(command)
    except FileNotFoundError:
        click.echo(f"framehouse: {command[0]}: command not found", err=True)
        sys.exit(_NOT_FOUND)
    except OSError as error:
        click.echo(f"framehouse: {command[0]}: {error.strerror}", err=True)
        sys.exit(_NOT_EXECUTABLE)


def _deliver(attempt: "Attempt", chosen: Settings, *, show: bool) -> None:
    """Send the attempt, and say on standard error what people should know, which is usually nothing."""
    from ingest.emit import Delivery, deliver, sentence

    receipt = deliver(attempt.event, settings=chosen)
    try:
        if attempt.failure is not None:
            click.echo(f"framehouse: {attempt.failure}", err=True)
        if show:
            _show(attempt.event)
        if attempt.trouble is not None:
            click.echo(f"framehouse: not everything could be measured: {attempt.trouble}", err=True)
        if receipt.reason is not None:
            click.echo(f"framehouse: {sentence(receipt)}", err=True)
        if receipt.delivery is Delivery.LOST:
            click.echo(json.dumps(attempt.event), err=True)
    except OSError:
        # Nobody reads standard error. What it still holds must not fail again at the end, which would be exit code 120.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _show(event: "Mapping[str, Any]", prefix: str = "") -> None:
    for key, value in event.items():
        if isinstance(value, dict):
            _show(value, f"{prefix}{key}.")
            continue
        text = (
            f"{value:,.3f}"
            if isinstance(value, float)
            else " ".join(map(str, value))
            if isinstance(value, list)
            else value
        )
        click.echo(f"  {prefix + key:<24} {text}", err=True)
