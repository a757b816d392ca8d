"""The laws of a measurement, for every one in the registry."""

import functools
import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import implicit_flow as imf


# Sums of at most m n^2 = 100 rounded terms of size 10.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}


def symmetric(rng, n):
    X = rng.normal(size=(n, n))
    return X + X.T


def _eager(A, X, r, U, V):
    return A.apply(X), A.adjoint(r), A.apply_product(U, V), A.adjoint_times(r, V), A.gram(U, V)


_all = jax.jit(_eager)


@pytest.fixture(scope="session")
def points():
    """X (symmetric), r, and two factors, for m = 4, n = 5, d = 2."""
    rng = np.random.default_rng(0)
    X, r = symmetric(rng, 5), rng.normal(size=4)
    return X, r, rng.normal(size=(5, 2)), rng.normal(size=(5, 2))


def test_sizes(measured):
    A, stack = measured
    assert (A.num_measurements, A.dim, A.dtype) == (*stack.shape[:2], stack.dtype)


def test_apply(measured, points):
    A, stack = measured
    X = points[0]
    np.testing.assert_allclose(A.apply(jnp.array(X)), np.einsum("kij,ij->k", stack, X), **ROUNDING)


def test_adjoint(measured, points):
    A, stack = measured
    r = points[1]
    got = A.adjoint(jnp.array(r))
    np.testing.assert_allclose(got, np.einsum("kij,k->ij", stack, r), **ROUNDING)
    np.testing.assert_allclose(got, got.T, **ROUNDING)


def test_adjoint_identity(measured, points):
    A, _ = measured
    X, r = jnp.array(points[0]), jnp.array(points[1])
    left, right = jnp.dot(A.apply(X), r), jnp.sum(X * A.adjoint(r))
    np.testing.assert_allclose(left, right, **ROUNDING)


def test_as_stack(measured):
    A, stack = measured
    np.testing.assert_allclose(A.as_stack(), stack, **ROUNDING)


def test_apply_product(measured, points):
    A, stack = measured
    _, _, U, V = points
    got = A.apply_product(jnp.array(U), jnp.array(V))
    np.testing.assert_allclose(got, np.einsum("kij,id,jd->k", stack, U, V), **ROUNDING)
    square = jnp.array(U)
    got = A.apply_product(square, square)
    np.testing.assert_allclose(got, np.einsum("kij,id,jd->k", stack, U, U), **ROUNDING)


def test_adjoint_times(measured, points):
    A, stack = measured
    _, r, _, V = points
    got = A.adjoint_times(jnp.array(r), jnp.array(V))
    np.testing.assert_allclose(got, np.einsum("kij,k,jd->id", stack, r, V), **ROUNDING)


def test_gram(measured, points):
    A, stack = measured
    _, _, W, V = points
    got = A.gram(jnp.array(W), jnp.array(V))
    left, right = np.einsum("kij,jd->kid", stack, W), np.einsum("kij,jd->kid", stack, V)
    np.testing.assert_allclose(got, np.einsum("kid,lid->kl", left, right), **ROUNDING)


def test_gram_of_the_identity(measured):
    A, stack = measured
    identity = jnp.eye(A.dim)
    expected = np.einsum("kij,lij->kl", stack, stack)
    np.testing.assert_allclose(A.gram(identity, identity), expected, **ROUNDING)


def test_one_row_and_one_measurement(smallest):
    A, stack = smallest
    assert (A.num_measurements, A.dim) == (1, 1)
    two, three = jnp.full((1, 1), 2.0), jnp.full((1,), 3.0)
    prediction, matrix, product, times, gram = _all(A, two, three, two, two)
    number = stack[0, 0, 0]
    np.testing.assert_allclose(prediction, [2 * number], **ROUNDING)
    np.testing.assert_allclose(matrix, [[3 * number]], **ROUNDING)
    np.testing.assert_allclose(product, [4 * number], **ROUNDING)
    np.testing.assert_allclose(times, [[6 * number]], **ROUNDING)
    np.testing.assert_allclose(gram, [[4 * number**2]], **ROUNDING)


def test_jit_is_eager(measured, points):
    arguments = (measured[0], *map(jnp.array, points))
    for compiled, plain in zip(_all(*arguments), _eager(*arguments), strict=True):
        np.testing.assert_allclose(compiled, plain, **ROUNDING)


def test_vmap_is_a_loop(measured, points):
    A, _ = measured
    batch = [jnp.stack([jnp.array(p), 2 * jnp.array(p), p[::-1].copy()]) for p in points]
    batch[0] = batch[0] + jnp.swapaxes(batch[0], 1, 2)
    together = jax.jit(jax.vmap(_eager, in_axes=(None, 0, 0, 0, 0)))(A, *batch)
    for lane in range(3):
        alone = _all(A, *(b[lane] for b in batch))
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(many[lane], one, **ROUNDING)


def test_vmap_over_the_measurement(measured, points):
    """A batch of measurements of one kind is a measurement with batched leaves."""
    A, _ = measured
    other = jax.tree.map(lambda x: 2 * x if eqx.is_inexact_array(x) else x, A)
    both = jax.tree.map(lambda *x: jnp.stack(x), A, other)
    X = jnp.array(points[0])
    got = jax.vmap(lambda A: A.apply(X), axis_size=2)(both)
    for lane, alone in enumerate((A, other)):
        np.testing.assert_allclose(got[lane], alone.apply(X), **ROUNDING)


def test_derivatives(measured, points):
    """Against finite differences, in X, r, the factors and the data, forward and reverse."""
    data, rest = eqx.partition(measured[0], eqx.is_inexact_array)

    def scalar(data, *arguments):
        outputs = _eager(eqx.combine(data, rest), *arguments)
        return sum(jnp.sum(jnp.sin(out)) for out in outputs)

    arguments = (data, *map(jnp.array, points))
    # Central differences with step 1e-5 of a function with derivatives up to 1e3.
    check_grads(jax.jit(scalar), arguments, 1, eps=1e-5, rtol=1e-5, atol=1e-5)


def test_float32_stays_float32(make_measurement, points):
    A, stack = make_measurement(np.random.default_rng(3), 4, 5, np.float32)
    assert A.dtype == jnp.float32
    arguments = [jnp.array(p, jnp.float32) for p in points]
    outputs = jax.eval_shape(lambda A, *p: (*_all(A, *p), A.as_stack()), A, *arguments)
    assert {out.dtype for out in outputs} == {jnp.dtype(jnp.float32)}
    exact = np.einsum("kij,ij->k", stack.astype(float), points[0])
    # 25 terms of size 10, each rounded to 24 bits.
    np.testing.assert_allclose(A.apply(arguments[0]), exact, atol=25 * 10 * 2.0**-24)


def test_pytree(measured, points):
    A, _ = measured
    leaves, structure = jax.tree.flatten(A)
    again = jax.tree.unflatten(structure, leaves)
    assert type(again) is type(A)
    assert eqx.tree_equal(A, again)
    assert eqx.tree_equal(A, eqx.combine(*eqx.partition(A, eqx.is_inexact_array)))
    doubled = jax.tree.map(lambda x: 2 * x, A)
    assert not leaves or not eqx.tree_equal(A, doubled)
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, A)
    buffer.seek(0)
    assert eqx.tree_equal(A, eqx.tree_deserialise_leaves(buffer, doubled))
    through = jax.jit(lambda A: A)(A)
    X = jnp.array(points[0])
    np.testing.assert_array_equal(through.apply(X), A.apply(X))


def test_made_under_a_trace(measured, points):
    """Its checks look at known values only, so that it can be made inside `jit`."""
    A, stack = measured
    fields = {name: x for name, x in vars(A).items() if eqx.is_array(x)}
    if isinstance(A, imf.measurements.EntryMeasurement):
        fields |= {"dim": A.dim}
    if isinstance(A, imf.measurements.FunctionMeasurement):
        make = functools.partial(imf.measurements.from_function, A.function, A.dim, 4)
    else:
        make = functools.partial(type(A), **{k: x for k, x in fields.items() if k == "dim"})
    arrays = {name: x for name, x in fields.items() if name != "dim"}
    got = jax.jit(lambda arrays, X: make(**arrays).apply(X))(arrays, jnp.array(points[0]))
    np.testing.assert_allclose(got, np.einsum("kij,ij->k", stack, points[0]), **ROUNDING)


def _largest(jaxpr):
    """The number of entries of the largest array anywhere in a program."""
    sizes = [0]
    for equation in jaxpr.eqns:
        sizes += [variable.aval.size for variable in equation.outvars]
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                sizes.append(_largest(inner))
    return max(sizes)


OPERATIONS = {
    "apply": lambda A, X, r, U, V: A.apply(X),
    "adjoint": lambda A, X, r, U, V: A.adjoint(r),
    "apply_product": lambda A, X, r, U, V: A.apply_product(U, V),
    "adjoint_times": lambda A, X, r, U, V: A.adjoint_times(r, V),
    "gram": lambda A, X, r, U, V: A.gram(U, V),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_stack_is_not_formed(make_structured, operation):
    m, n, d = 9, 11, 2
    A, _ = make_structured(np.random.default_rng(5), m, n, np.float64)
    shapes = [(n, n), (m,), (n, d), (n, d)]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes]
    program = jax.make_jaxpr(OPERATIONS[operation])(A, *arguments)
    assert _largest(program.jaxpr) < m * n * n
    # The count sees a stack where there is one, also inside another program.
    forming = jax.make_jaxpr(jax.jit(lambda A: jnp.sum(A.as_stack())))(A)
    assert _largest(forming.jaxpr) >= m * n * n


@pytest.mark.parametrize(
    ("method", "shape"),
    [("apply", (4, 4)), ("apply", (6, 6)), ("adjoint", (3,)), ("adjoint", (1,))],
)
def test_a_wrong_shape_is_refused(measured, method, shape):
    with pytest.raises(ValueError, match=r"^Argument `[Xr]` must have shape \(.*\), but has shape"):
        getattr(measured[0], method)(jnp.ones(shape))
