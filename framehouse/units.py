"""Units by the suffix of a name: what a quantity is measured in, and how people see it.

`mb` is 2^20 bytes and `gb` 2^30, for memory and disk alike, shown as MiB and GiB. Bytes are converted once, at
ingest, with `mib_from_bytes`.
"""

from dataclasses import dataclass

from framehouse.errors import ConfigError

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure: `suffix` ends the names of its quantities, `label` is what people read."""

    suffix: str
    label: str
    dimension: str
    scale: float  # how many of the dimension's base unit (second, MiB, joule, 1) one of these is

    @property
    def shown(self) -> str:
        """What stands beside a number of it; its suffix where people read no unit."""
        return self.label or self.suffix


UNITS: tuple[Unit, ...] = (
    Unit("seconds", "s", "time", 1.0),
    Unit("ms", "ms", "time", 1e-3),
    Unit("hours", "h", "time", 3600.0),
    Unit("hour", "/h", "frequency", 1 / 3600.0),
    Unit("mb", "MiB", "memory", 1.0),
    Unit("gb", "GiB", "memory", 1024.0),
    Unit("joules", "J", "energy", 1.0),
    Unit("kwh", "kWh", "energy", 3.6e6),
    Unit("kbps", "kbit/s", "rate", 1.0),
    Unit("pct", "%", "share", 0.01),
    Unit("ratio", "", "share", 1.0),
    Unit("score", "", "score", 1.0),
    Unit("cost", "", "money", 1.0),
    Unit("rtf", "x", "speed", 1.0),
    Unit("count", "", "count", 1.0),
)

_BY_SUFFIX = {unit.suffix: unit for unit in UNITS}


def unit_of(name: str) -> Unit:
    """The unit that a name's last word says: `unit_of("wall_seconds").label == "s"`.

    Raises ConfigError for a name without a known unit.
    """
    suffix = name.rsplit("_", 1)[-1]
    try:
        return _BY_SUFFIX[suffix]
    except KeyError:
        known = ", ".join(_BY_SUFFIX)
        raise ConfigError(
            f"the name {name!r} does not end in a unit", hint=f"end it in one of: {known}"
        ) from None


def mib_from_bytes(size: float) -> float:
    """Bytes to MiB (2^20 bytes)."""
    return size / MIB


def gib_from_mib(size_mb: float) -> float:
    """MiB to GiB."""
    return size_mb * MIB / GIB


def hours_from_seconds(seconds: float) -> float:
    """Seconds to hours."""
    return seconds / 3600.0
