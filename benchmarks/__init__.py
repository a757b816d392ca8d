"""Benchmarks: `python -m benchmarks.solvers --help`. They print ratios, and keep them as JSON."""
