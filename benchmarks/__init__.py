"""Benchmarks: `python -m benchmarks.solvers --help`. They print ratios, and keep them as JSON."""

import os


# One thread for everyone, read when the linear algebra is loaded: `docs/sharp_bits.md`.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
