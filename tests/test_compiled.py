"""`compiled`: our options where nothing is compiled around a call, and the user's otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow import _compiled


ONE = jnp.array([0.5, 1.0])


@pytest.fixture(params=["", "--xla_cpu_enable_fast_math=false"])
def no_choice(request, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", request.param)


@pytest.fixture
def options(monkeypatch):
    """What is handed to the compiler, call by call."""
    seen = []
    plain = _compiled.eqx.filter_jit

    def spy(*args, **kwargs):
        if "compiler_options" in kwargs:
            seen.append(kwargs["compiler_options"])
        return plain(*args, **kwargs)

    monkeypatch.setattr(_compiled.eqx, "filter_jit", spy)
    return seen


def ours(chosen):
    """XLA's options for accelerators are left alone."""
    return [chosen] if jax.default_backend() == "cpu" else []


def norm(x):
    return jnp.sin(x) @ x


VALUE = float(np.sin(0.5) * 0.5 + np.sin(1.0))


def test_a_call_of_its_own_has_our_options(no_choice, options):
    function = _compiled.compiled(norm)
    assert options == []
    assert float(function(ONE)) == pytest.approx(VALUE)
    assert options == ours(_compiled.QUICK)


@pytest.mark.parametrize(
    "around",
    [
        lambda f: jax.jit(f)(ONE),
        lambda f: jax.jit(lambda: f(ONE))(),
        lambda f: jax.jvp(f, (ONE,), (ONE,))[0],
        lambda f: jax.value_and_grad(f)(ONE)[0],
        lambda f: jax.vmap(f)(ONE[None])[0],
        lambda f: jax.jit(jax.value_and_grad(f))(ONE)[0],
        lambda f: jax.lax.map(f, ONE[None])[0],
        lambda f: jax.value_and_grad(lambda a: a * f(ONE))(1.0)[0],
    ],
    ids=["jit", "jit of a constant", "jvp", "grad", "vmap", "jit of grad", "map", "constant"],
)
def test_it_composes(no_choice, around):
    assert float(around(_compiled.compiled(norm))) == pytest.approx(VALUE)


def test_it_composes_where_only_what_a_function_closes_over_is_traced(no_choice):
    at_one = _compiled.compiled(lambda function: function(ONE))
    value, slope = jax.value_and_grad(lambda a: at_one(lambda x: a * norm(x)))(2.0)
    assert float(value) == pytest.approx(2 * VALUE)
    assert float(slope) == pytest.approx(VALUE)


def test_what_the_user_chose_holds(monkeypatch, options):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    _compiled.compiled(norm)(ONE)
    assert options == ours({"xla_cpu_use_fusion_emitters": False})


def test_a_compiler_that_does_not_know_the_options(no_choice, monkeypatch):
    monkeypatch.setattr(_compiled, "QUICK", {"xla_cpu_no_such_option": False})
    _compiled._are_known.cache_clear()
    try:
        assert float(_compiled.compiled(norm)(ONE)) == pytest.approx(VALUE)
    finally:
        _compiled._are_known.cache_clear()


def test_memory_that_is_given_away(no_choice):
    step = _compiled.compiled(lambda fixed, x: fixed * x, donate="all-except-first")
    fixed, x = ONE, 2 * ONE
    np.testing.assert_allclose(step(fixed, x), 2 * ONE**2)
    assert x.is_deleted()
    assert not fixed.is_deleted()
