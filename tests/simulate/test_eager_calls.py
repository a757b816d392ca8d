"""Outside `jit` too a call compiles what it needs once, whatever the values."""

import threading

import jax
import jax.numpy as jnp
import pytest

import implicit_flow as imf
from implicit_flow._simulate import tolerance


PROBLEM = imf.problems.gaussian_sensing(3, 1, 4, key=jax.random.key(0))
SPARSE = imf.Problem(
    imf.measurements.DiagonalMeasurement(jnp.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])),
    jnp.array([1.0, 2.0]),
)


@pytest.mark.parametrize(
    "call",
    [
        lambda value: imf.simulate(PROBLEM, log10_alpha=-value),
        lambda value: imf.recovery.spectral_start(PROBLEM, 1),
        lambda value: imf.recovery.orthogonal_matching_pursuit(SPARSE, 2),
        lambda value: imf.closed_forms.hadamard(SPARSE, log10_alpha=-value),
    ],
    ids=["simulate", "spectral_start", "orthogonal_matching_pursuit", "closed form"],
)
def test_the_second_call_compiles_nothing(call, caplog):
    with jax.log_compiles():
        jax.block_until_ready(call(2.0))
        first = _compiled(caplog)
        jax.block_until_ready(call(3.0))
    # An operation outside of the large programs costs as much as ten of one inside; a copy of an
    # array to where it is used is small, and may have been compiled before.
    assert len([text for text in first if "jit(stage)" not in text]) <= 6
    assert _compiled(caplog) == first


def test_other_tolerances_times_problems_without_an_answer_and_the_limit_use_one_engine(
    caplog,
):
    jax.block_until_ready(imf.simulate(PROBLEM, log10_alpha=-2.0))
    with jax.log_compiles():
        jax.block_until_ready(imf.simulate(PROBLEM, log10_alpha=-3.0, rtol=1e-4, t1=5.0))
        unknown = imf.Problem(PROBLEM.measurement, PROBLEM.targets)
        jax.block_until_ready(imf.simulate(unknown, log10_alpha=-3.0))
        jax.block_until_ready(imf.limit(PROBLEM, log10_alphas=[-2.0, -3.0]).X)
    # A copy of an array to where it is used, or an operation on scalars, is small.
    assert not [text for text in _compiled(caplog) if "_from_frame" in text or "_judged" in text]


def _compiled(caplog):
    # Of this thread: what another test has left running is not what a call compiles.
    own = [record for record in caplog.records if record.thread == threading.get_ident()]
    return [record.getMessage() for record in own if "Compiling" in record.getMessage()]


@pytest.mark.parametrize(
    ("rtol", "message"),
    [
        ("tight", "`rtol` must be an array of real numbers"),
        (1j, "`rtol` must be a real number"),
        ([1e-3, 1e-6], r"`rtol` must have shape \(\)"),
        (0.0, "`rtol` must lie between"),
        (jnp.nan, "`rtol` must lie between"),
    ],
)
def test_a_tolerance_that_cannot_be(rtol, message):
    with pytest.raises(ValueError, match=message):
        tolerance(rtol, jnp.float64)
