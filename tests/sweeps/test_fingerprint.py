"""Programs that compute something else have another fingerprint; the same one, the same."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from implicit_flow.sweeps._fingerprint import fingerprint
from implicit_flow.sweeps._source import function_name, function_source


def of(function, *arguments):
    return fingerprint(jax.make_jaxpr(function)(*(arguments or (1.0,))))


DATA = jnp.arange(3.0)


@jax.custom_jvp
def clipped(x):
    return jnp.clip(x, -1.0, 1.0)


@clipped.defjvp
def _(primals, tangents):
    return clipped(*primals), tangents[0]


def times(factor):
    return lambda x: factor * x


def product(factor, x):
    return factor * x


VARIANTS = {
    "sin": lambda x: jnp.sin(x),
    "cos": lambda x: jnp.cos(x),
    "literal 2": lambda x: 2.0 * x,
    "literal 3": lambda x: 3.0 * x,
    "left": lambda x: jnp.sin(x) - jnp.cos(x),
    "right": lambda x: jnp.cos(x) - jnp.sin(x),
    "constant": lambda x: x * DATA,
    "constant in the last bit": lambda x: x * jnp.nextafter(DATA, jnp.inf),
    "float32 constant": lambda x: x * DATA.astype(jnp.float32).astype(float),
    "loop 3": lambda x: lax.fori_loop(0, 3, lambda _, v: v * x, x),
    "loop 4": lambda x: lax.fori_loop(0, 4, lambda _, v: v * x, x),
    "loop body": lambda x: lax.fori_loop(0, 3, lambda _, v: v + x, x),
    "branch": lambda x: lax.cond(x > 0, lambda v: v, lambda v: -v, x),
    "other branch": lambda x: lax.cond(x > 0, lambda v: v, lambda v: -2 * v, x),
    "jit": lambda x: jax.jit(lambda v: v + 1.0)(x),
    "other jit": lambda x: jax.jit(lambda v: v + 2.0)(x),
    "key": lambda x: x + jax.random.normal(jax.random.key(0)),
    "other key": lambda x: x + jax.random.normal(jax.random.key(1)),
    "custom": lambda x: clipped(x),
    "host": lambda x: jax.pure_callback(lambda v: v, x, x),
    "other host": lambda x: jax.pure_callback(lambda v: 2 * v, x, x),
    "host closed over 2": lambda x: jax.pure_callback(times(2.0), x, x),
    "host closed over 3": lambda x: jax.pure_callback(times(3.0), x, x),
    "host bound to 2": lambda x: jax.pure_callback(functools.partial(product, 2.0), x, x),
    "host bound to 3": lambda x: jax.pure_callback(functools.partial(product, 3.0), x, x),
    "scan": lambda x: lax.scan(lambda c, y: (c + y, c * y), x, DATA),
    "scan reversed": lambda x: lax.scan(lambda c, y: (c + y, c * y), x, DATA, reverse=True),
}


def test_every_variant_has_its_own():
    prints = {name: of(function) for name, function in VARIANTS.items()}
    assert len(set(prints.values())) == len(prints)


def test_retracing_gives_the_same():
    for function in VARIANTS.values():
        first = of(function)
        jax.clear_caches()
        assert of(function) == first


def test_another_process_gives_the_same():
    """Under another hash seed and other addresses, for a real adaptive solver."""
    code = """
import jax, jax.numpy as jnp, diffrax
jax.config.update("jax_enable_x64", True)
from implicit_flow.sweeps._fingerprint import fingerprint
def solve(a, key):
    return diffrax.diffeqsolve(diffrax.ODETerm(lambda t, y, args: -args * y), diffrax.Tsit5(),
        0.0, 1.0, None, jax.random.normal(key, (2,)), a, max_steps=16, throw=False,
        stepsize_controller=diffrax.PIDController(1e-6, 1e-9)).ys
print(fingerprint(jax.make_jaxpr(solve)(1.0, jax.random.key(0))))
"""
    prints = set()
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env={**__import__("os").environ, "PYTHONHASHSEED": seed},
        )
        prints.add(out.stdout)
    assert len(prints) == 1


def test_source_of_wrapped_functions():
    def plain(a, b):
        return a + b

    assert function_source(plain).startswith("def plain(a, b):")
    assert function_source(jax.jit(plain)) == function_source(plain)
    bound = function_source(functools.partial(plain, b=2.0))
    assert bound == "partial of the next with\n    b=2.0\n" + function_source(plain)
    assert bound != function_source(functools.partial(plain, b=3.0))
    assert "(3,)" in function_source(functools.partial(plain, b=DATA))
    assert function_name(jax.jit(plain)).endswith("plain")


def test_source_of_a_lambda_is_the_lambda_alone():
    unrelated, function = 1.0, lambda a: a + 1.0
    assert unrelated
    assert function_source(function) == "lambda a: a + 1.0"


def test_source_of_a_callable_object():
    class Power:
        def __call__(self, a):
            return a**2

    assert "return a**2" in function_source(Power())
    # A built-in has no source; the fingerprint of what it traces to is all there is.
    assert function_source(max) in ("", function_source(max))


@pytest.mark.parametrize("name", ["<string>"])
def test_no_source_is_no_error(name):
    scope = {}
    exec(compile("def unseen(a):\n    return a\n", name, "exec"), scope)
    assert function_source(scope["unseen"]) == ""
