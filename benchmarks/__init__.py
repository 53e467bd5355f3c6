"""Measurements side by side with a baseline of the same run: `make bench`, `python -m benchmarks --help`.

Nothing here is asserted by a test. docs/benchmarks.md says what each measures and shows the figures of one run.
"""
