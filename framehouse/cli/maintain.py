"""`framehouse maintain` and `framehouse migrate`: keeping the warehouse up to date."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import click

from framehouse.config import settings
from framehouse.errors import FramehouseError

if TYPE_CHECKING:
    from framehouse.warehouse import Warehouse

LONGEST_WAIT_SECONDS = 60.0
RETENTION_EVERY_SECONDS = 3600.0
NOTES_EVERY_SECONDS = 60.0

_log = logging.getLogger("framehouse.maintain")


@click.command()
@click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(min=0.1, max=86400),
    metavar="SECONDS",
    help="Keep on, this long after each time; survives restarts of the database.",
)
def maintain(every_seconds: float | None) -> None:
    """Bring the rollups' cells and the forecasts up to date, and record which estimates are off.

    Readers never wait for this and see right numbers without it; it makes them faster. `framehouse serve` does it by
    itself. Stop it whenever you like. With --every it also drops raw rows that are older than `framehouse retention`
    says, once an hour, and once a minute records which budgets have crossed a level.

    \b
    framehouse maintain               work off what waits
    framehouse maintain --every 10    ... and go on
    """
    from framehouse import embedded

    chosen = settings()
    if every_seconds is None:
        _once(embedded.database_url(chosen))
        return
    log_to_stderr()
    keeper = Keeper(lambda: embedded.database_url(chosen), every_seconds)
    stop_on_signals(keeper.stop)
    keeper.run()


@click.command()
@click.option("--check", "is_checking", is_flag=True, help="Only say what is missing; exit 1 if anything is.")
@click.pass_context
def migrate(ctx: click.Context, is_checking: bool) -> None:
    """Bring the schema up to date. Safe to run at any time, by several at once.

    \b
    framehouse migrate --check
    framehouse migrate
    """
    from framehouse import embedded
    from framehouse.cli.console import TerminalReporter
    from migrations import newest, pending, upgrade

    url = embedded.database_url(settings())
    missing = pending(url)
    if not missing:
        click.echo(f"the schema is up to date ({newest().number})")
        return
    if is_checking:
        for revision in missing:
            click.echo(f"missing: {revision.number} {revision.title}")
        ctx.exit(1)
    with TerminalReporter() as report:
        applied = upgrade(url, report)
    click.secho(
        f"{len(applied)} migrations applied; the schema is up to date ({newest().number})", fg="green"
    )


class Keeper:
    """Maintains a warehouse over and over, through restarts of its database.

    url             asked whenever a connection is needed
    every_seconds   rest after each time; after a failure it grows, up to a minute
    """

    def __init__(self, url: Callable[[], str], every_seconds: float) -> None:
        self._url = url
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self._warehouse: Warehouse | None = None
        self._next_retention = time.monotonic() + RETENTION_EVERY_SECONDS
        self._next_notes = time.monotonic()

    def run(self) -> None:
        """Maintain until `stop`."""
        wait_seconds = 0.0
        failures = 0
        try:
            while not self._stopping.wait(wait_seconds):
                try:
                    self._maintain()
                    if failures:
                        _log.info("maintenance goes on")
                    failures = 0
                except _StoppedError:
                    break
                except Exception as error:  # noqa: BLE001 - maintenance must outlive whatever happens to one round
                    self._close()
                    failures += 1
                    if failures == 1:
                        _tell(error)
                wait_seconds = min(
                    self._every_seconds * 2**failures, max(LONGEST_WAIT_SECONDS, self._every_seconds)
                )
        finally:
            self._close()

    def stop(self) -> None:
        """End after the present step; what is not done is done the next time."""
        self._stopping.set()

    def step(self, text: str) -> None:
        """As a reporter: nothing to say."""

    def advance(self, done: float, total: float, text: str = "") -> None:
        """As a reporter: between two steps, the moment to stop."""
        if self._stopping.is_set():
            raise _StoppedError

    def _maintain(self) -> None:
        from framehouse.estimates.learning import learn
        from framehouse.warehouse import Warehouse
        from framehouse.warehouse.maintain import maintain as work_off

        if self._warehouse is None:
            self._warehouse = Warehouse(self._url(), max_size=2, name="framehouse maintain")
        started = time.monotonic()
        done = work_off(self._warehouse, self)
        if done:
            _log.info("recomputed %d buckets in %.1f s", done, time.monotonic() - started)
        learn(self._warehouse, self)
        if started >= self._next_retention:
            self._next_retention = started + RETENTION_EVERY_SECONDS
            self._drop(self._warehouse)
        if started >= self._next_notes:
            self._next_notes = started + NOTES_EVERY_SECONDS
            self._note_crossings(self._warehouse)
            self._note_alarms(self._warehouse)

    def _note_crossings(self, warehouse: "Warehouse") -> None:
        from framehouse.estimates.submission import note_crossings

        for crossing in note_crossings(warehouse):
            _log.warning("%s", crossing)

    def _note_alarms(self, warehouse: "Warehouse") -> None:
        from framehouse.estimates.alarms import note_alarms

        for alarm in note_alarms(warehouse):
            _log.log(logging.WARNING if alarm.closed_at is None else logging.INFO, "%s", alarm.sentence)

    def _drop(self, warehouse: "Warehouse") -> None:
        from framehouse.warehouse.retention import drop, preview

        planned = preview(warehouse)
        if planned.dropped:
            drop(warehouse, planned, self)
            _log.info(
                "dropped %d chunks of raw data; it begins at %s", len(planned.dropped), planned.raw_from
            )

    def _close(self) -> None:
        if self._warehouse is not None:
            self._warehouse.close()
            self._warehouse = None


class _StoppedError(Exception):
    """Somebody asked to stop."""


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line a record, with its time."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # every look at the schema would be two lines


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at SIGTERM and SIGINT, in place of dying of them."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def _once(url: str) -> None:
    from framehouse.cli.console import TerminalReporter
    from framehouse.estimates.alarms import note_alarms
    from framehouse.estimates.learning import learn
    from framehouse.warehouse import Warehouse
    from framehouse.warehouse.maintain import backlog
    from framehouse.warehouse.maintain import maintain as work_off

    with Warehouse(url, name="framehouse maintain") as warehouse:
        waiting = backlog(warehouse).total
        with TerminalReporter() as report:
            if waiting:
                report.step(f"recomputing touched buckets ({waiting} marks wait)")
            done = work_off(warehouse, report)
            report.step("learning from new attempts")
            learnt = learn(warehouse, report)
            report.step("looking at what estimates came to")
            noted = note_alarms(warehouse)
        left = backlog(warehouse).total
    if left and not done:
        click.echo(f"another framehouse is at work on this warehouse ({left} marks wait)")
    else:
        click.echo(f"recomputed {done} buckets; {left or 'nothing'} {'wait' if left > 1 else 'waits'}")
        if learnt:
            click.echo(
                f"{learnt} forecast{'s' if learnt > 1 else ''} know{'' if learnt > 1 else 's'} all attempts"
            )
    for alarm in noted:
        click.secho(alarm.sentence, fg="yellow" if alarm.closed_at is None else "green")


def _tell(error: Exception) -> None:
    if isinstance(error, FramehouseError):
        _log.warning("maintenance waits: %s", error)
    else:
        _log.error("maintenance failed, and tries again", exc_info=error)
