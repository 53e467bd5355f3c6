"""Run a command, measure it, and say what happened as one event of the contract."""

import contextlib
import errno
import shlex
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import Any

from framehouse.config import Settings
from ingest.collectors import ffmpeg, host, secrets
from ingest.collectors.child import Child, Ending
from ingest.collectors.media import Outputs, Produced, longest_input
from ingest.collectors.probe import Prober, Tools
from ingest.collectors.tree import TreeMeter, Usage

SCHEMA_VERSION = 1
_NAME_LIMIT = 200
_TEXT_LIMIT = 10_000
_HARDWARE_PATIENCE_SECONDS = 1.5
_FFMPEG_STOPPED = {255, 123}  # after a signal: the trailer is written (255), or not even that (123)
_PIXELS_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class Labels:
    """What only the caller knows of a job. `fields` go into the event as they are; the rest steers the measuring.

    inputs, outputs   files to describe, in place of those that an ffmpeg command line names
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A command that has ended: how, and what to tell the warehouse.

    failure   why the command could not even be started
    trouble   why some of the event could not be measured
    """

    ending: Ending
    event: dict[str, Any]
    failure: str | None = None
    trouble: str | None = None


def measure(argv: Sequence[str], labels: Labels, settings: Settings) -> Attempt:
    """Run a command to its end, with its signals and files, and describe it.

    Never raises for what the command does, nor for what cannot be measured: the event then says less.
    """
    invocation = ffmpeg.parse(argv)
    watch = _Watch(argv, labels, invocation, settings)
    started = time.monotonic()
    try:
        child = Child.start(argv)
    except OSError as error:
        return watch.unstarted(error, time.monotonic() - started)
    meter = _Guarded(TreeMeter(child.pid, lambda: child.own_pids, started))
    watch.ask_hardware()
    ending = child.wait(meter)
    return watch.ended(ending, meter, time.monotonic() - started)


class _Guarded:
    """A meter whose mistakes never reach the command: the first one is kept, to be told at the end."""

    def __init__(self, meter: TreeMeter) -> None:
        self._meter = meter
        self.trouble: str | None = None

    def look(self) -> None:
        self._try(self._meter.look)

    def ending(self, pid: int) -> None:
        self._try(self._meter.ending, pid)

    def ended(self, pid: int, status: int, usage: Any) -> None:
        self._try(self._meter.ended, pid, status, usage)

    def finish(self) -> Usage | None:
        usage: Usage | None = self._try(self._meter.finish)
        return usage

    def _try(self, step: Any, *values: Any) -> Any:
        try:
            return step(*values)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the command goes on
            self.trouble = self.trouble or f"{type(error).__name__}: {error}"
            return None


class _Watch:
    """Collects what there is to say about one command."""

    def __init__(
        self, argv: Sequence[str], labels: Labels, invocation: ffmpeg.Invocation | None, settings: Settings
    ) -> None:
        self._argv = argv
        self._labels = labels
        self._invocation = invocation
        self._settings = settings
        self._hardware: host.Hardware | None = None
        self._asking: threading.Thread | None = None
        given = tuple(ffmpeg.Medium(path) for path in labels.outputs)
        self._outputs = Outputs(given or (invocation.outputs if invocation else ()))

    def ask_hardware(self) -> None:
        """Begin to ask what may take a second, beside the running command."""

        def ask() -> None:
            with contextlib.suppress(Exception):  # the event then says less of the host
                self._hardware = host.hardware(self._settings)

        self._asking = threading.Thread(target=ask, daemon=True)
        self._asking.start()

    def unstarted(self, error: OSError, wall_seconds: float) -> Attempt:
        """The command could not be run."""
        is_missing = error.errno in {errno.ENOENT, errno.ENOTDIR}
        ending = Ending(127 if is_missing else 126, None, frozenset())
        why = "was not found" if is_missing else f"cannot be run: {error.strerror}"
        self.ask_hardware()
        outcome = {
            "outcome": "failed",
            "error_code": f"exit_{ending.exit_code}",
            "error_message": _storable(f"the command {PurePath(self._argv[0]).name} {why}", _TEXT_LIMIT),
        }
        event, trouble = self._described(outcome, {"wall_seconds": wall_seconds})
        return Attempt(ending, event, failure=event["error_message"], trouble=trouble)

    def ended(self, ending: Ending, meter: _Guarded, wall_seconds: float) -> Attempt:
        """The command has run."""
        usage = meter.finish()
        figures: dict[str, Any] = {"wall_seconds": wall_seconds} if usage is None else asdict(usage)
        trouble = meter.trouble
        try:
            figures |= self._media()
        except Exception as error:  # noqa: BLE001 - a file that cannot be described costs its figures only
            trouble = trouble or f"{type(error).__name__}: {error}"
        outcome = _outcome(ending, is_ffmpeg=self._invocation is not None)
        event, more = self._described(outcome, figures)
        return Attempt(ending, event, trouble=trouble or more)

    def _media(self) -> dict[str, Any]:
        prober = Prober(
            Tools.find(self._invocation.program if self._invocation else None),
            self._settings.home / "cache" / "media",
        )
        inputs, limit = tuple(ffmpeg.Medium(path) for path in self._labels.inputs), None
        if not inputs and self._invocation is not None:
            inputs, limit = self._invocation.inputs, self._invocation.output_limit_seconds
        longest = longest_input(inputs, limit, prober)
        produced: Produced = self._outputs.produced(
            prober, is_counting="frame_count" not in self._labels.fields
        )
        told = asdict(longest) if longest is not None else {}
        told.pop("frame_count", None)
        return {"input": _pixels(told), **_pixels(asdict(produced))}

    def _described(
        self, outcome: dict[str, Any], figures: dict[str, Any]
    ) -> tuple[dict[str, Any], str | None]:
        """The event, and what went wrong with it: then it says no more than it must."""
        try:
            return self._event(outcome, figures), None
        except Exception as error:  # noqa: BLE001 - the command has ended, and its exit code must be passed on
            least = {
                "job_id": str(uuid.uuid4()),
                "workflow": "unnamed",
                "finished_at": datetime.now(UTC).isoformat(),
            }
            event = {**least, "wall_seconds": figures["wall_seconds"], **outcome, **self._labels.fields}
            return _compact(event), f"{type(error).__name__}: {error}"

    def _event(self, outcome: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
        finished_at = datetime.now(UTC)
        wall_seconds = figures["wall_seconds"]
        gpu_count = self._labels.fields.get("gpu_count", 0)
        event = {
            "schema_version": SCHEMA_VERSION,
            "job_id": str(uuid.uuid4()),
            "attempt": 1,
            "workflow": _program(self._argv[0], is_ffmpeg=self._invocation is not None),
            "worker": host.hostname(),
            # From the end backwards: a clock that was set meanwhile cannot put the end before the start.
            "started_at": (finished_at - timedelta(seconds=wall_seconds)).isoformat(),
            "finished_at": finished_at.isoformat(),
            **outcome,
            "gpu_count": gpu_count,
            "gpu_seconds": gpu_count * wall_seconds,
            **figures,
            "commands": [_storable(shlex.join(secrets.masked(self._argv)), _TEXT_LIMIT)],
            "host": self._host(),
            **self._labels.fields,
        }
        return _compact(event)

    def _host(self) -> dict[str, Any]:
        if self._asking is not None:
            self._asking.join(_HARDWARE_PATIENCE_SECONDS)
        slow = asdict(self._hardware) if self._hardware is not None else {}
        fast = {"hostname": host.hostname(), "cpu_count": host.cpu_count(), "memory_gb": host.memory_gb()}
        return fast | slow


def _outcome(ending: Ending, *, is_ffmpeg: bool) -> dict[str, Any]:
    if ending.exit_code == 0:
        return {"outcome": "succeeded"}
    if ending.signal is not None:
        name = _signal_name(ending.signal)
        is_canceled = ending.signal in {SIGINT, SIGTERM}
        return {
            "outcome": "canceled" if is_canceled else "failed",
            "error_code": f"signal_{name}",
            "error_message": f"the command was ended by {name}",
        }
    code = ending.exit_code
    asked_by = [number for number in (SIGINT, SIGTERM, SIGHUP) if number in ending.received]
    # Programs that tidy up after a signal exit by themselves: ffmpeg with 255, shells with 128 + its number.
    is_canceled = bool(asked_by) and (
        (is_ffmpeg and code in _FFMPEG_STOPPED) or code in {128 + n for n in asked_by}
    )
    if is_canceled:
        message = f"the command was told to stop by {_signal_name(asked_by[0])} and exited with {code}"
        return {
            "outcome": "canceled",
            "error_code": f"signal_{_signal_name(asked_by[0])}",
            "error_message": message,
        }
    return {
        "outcome": "failed",
        "error_code": f"exit_{code}",
        "error_message": f"the command exited with {code}",
    }


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return str(number)  # a real-time signal


def _program(path: str, *, is_ffmpeg: bool) -> str:
    """The program's name; `ffmpeg` whatever the build is called and whatever starts it."""
    return "ffmpeg" if is_ffmpeg else _storable(PurePath(path).name, _NAME_LIMIT).strip() or "unnamed"


def _storable(text: str, limit: int) -> str:
    """Text that the warehouse can store: bytes that are no UTF-8 and control characters become the mark for that."""
    plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    plain = "".join("\ufffd" if ord(c) == 127 or (ord(c) < 32 and c not in "\t\n\r") else c for c in plain)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def _pixels(found: dict[str, Any]) -> dict[str, Any]:
    """Without a width or height that no picture has."""
    return {
        key: value
        for key, value in found.items()
        if key not in {"width", "height"} or (value is not None and 1 <= value <= _PIXELS_LIMIT)
    }


def _compact(value: dict[str, Any]) -> dict[str, Any]:
    """Without what is unknown, and with figures as exact as they were measured."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        kept = _compact(item) if isinstance(item, dict) and key != "parameters" else item
        if kept is None or (kept == {} and key != "parameters"):
            continue
        found[key] = round(kept, 9) if isinstance(kept, float) else kept
    return found
