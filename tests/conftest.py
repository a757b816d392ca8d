"""Settings that hold for every test: strict promotion, float64, a key whose seed is printed."""

import os


os.environ.setdefault("XLA_FLAGS", "")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("JAX_PLATFORMS", os.environ.get("IMPLICIT_FLOW_TEST_PLATFORM", ""))

import jax
import pytest


jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key():
    return jax.random.key(20260101)


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """Compiled programs of one test file are of no use to the next."""
    yield
    jax.clear_caches()
