"""Settings that hold for every test: strict promotion, float64, a key whose seed is printed."""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path


# Compilation is what these tests cost: measured, a first call of the engine compiles in 3 instead
# of 12 processor seconds without LLVM's optimizations, and then runs 1.5 times slower; one module
# for LLVM instead of 32 saves another 5%, as two workers leave no core for a second one. Of what is
# left, 3.9 to 4.3 processor seconds, the two passes over loops take 1.8: XLA repeats them until
# they find nothing, 14 times for the engine. With XLA_FLAGS="", as in `make test-long`, the tests
# have the compiler that users have.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
    " --xla_cpu_parallel_codegen_split_count=1"
    " --xla_disable_hlo_passes=while-loop-invariant-code-motion,simplify-while-loops",
)
# Half of the programs are compiled more than once: by two workers, by subprocesses, after a cache
# was cleared. They share one folder, which goes with the run unless JAX_COMPILATION_CACHE_DIR names
# one that stays.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="implicit_flow-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Lines of source that go into compiled programs for messages cost 7% of a costly file.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# As the command line does: threads of OpenBLAS wait for each other on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("JAX_PLATFORMS", os.environ.get("IMPLICIT_FLOW_TEST_PLATFORM", ""))

import jax
import pytest


# Tracing makes millions of small objects that stay: looking for garbage among them after every 700,
# as Python does, took 8.5 of the 106 processor seconds of two of the costly files.
gc.set_threshold(20_000, 10, 10)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key():
    return jax.random.key(20260101)


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """Compiled programs of one test file serve the next, until they are many."""
    yield
    _clear_if_many()


@pytest.fixture
def bounded_memory():
    """For files whose tests compile as much as a file does."""
    yield
    _clear_if_many()


def _clear_if_many():
    # Small operations recur in every file. A program takes several mappings of memory, of which
    # Linux grants a process 65530; measured, some 5000 go with 1.3 GB.
    try:
        many = Path("/proc/self/maps").read_bytes().count(b"\n") > 5000
    except OSError:
        # Not Linux.
        many = True
    if many:
        jax.clear_caches()
