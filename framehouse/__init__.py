"""framehouse: an analytics-first time-series warehouse for studios that generate media."""

__version__ = "0.1.0"
