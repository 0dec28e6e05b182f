"""Benchmarks: seeded, quality beside time, peers in the same run. Run as `python -m benchmarks.NAME` from the root."""
