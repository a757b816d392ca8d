"""The laws of a problem generator, for every one in the registry."""

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest


# Sums of at most 25 rounded terms of size 10.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}


def test_the_truth_meets_the_targets(draw, key):
    problem = draw(key, 0.0)
    stack, truth = np.array(problem.measurement.as_stack()), np.array(problem.ground_truth)
    np.testing.assert_allclose(np.einsum("kij,ij->k", stack, truth), problem.targets, **ROUNDING)
    assert float(problem.misfit(problem.ground_truth)) < 1e-13


def test_the_truth_is_positive_semidefinite_of_its_rank(planted, draw, key):
    rank = planted[1]
    truth = np.array(draw(key, 0.0).ground_truth)
    np.testing.assert_allclose(truth, truth.T, **ROUNDING)
    values = np.linalg.eigvalsh(truth)
    assert values[0] > -1e-14
    assert np.sum(values > 1e-8) == rank


def test_sizes(draw, key):
    problem = draw(key, 0.0)
    m, n = problem.num_measurements, problem.dim
    assert problem.targets.shape == (m,)
    assert problem.ground_truth.shape == (n, n)
    assert (m, n) == (problem.measurement.num_measurements, problem.measurement.dim)


@pytest.fixture(scope="module")
def many(draw):
    """400 draws at the noise 0.25, by vmap, and their keys."""
    keys = jax.random.split(jax.random.key(7), 400)
    return keys, jax.vmap(draw)(keys, jnp.full(400, 0.25))


def test_noise(many):
    """The noise has the level that was asked for, and mean zero."""
    problems = many[1]
    exact = jax.vmap(lambda problem: problem.measurement.apply(problem.ground_truth))(problems)
    sample = np.array(problems.targets - exact).ravel()
    # Five standard deviations of the sample deviation, sigma / sqrt(2 N), and of the mean.
    assert np.std(sample) == pytest.approx(0.25, rel=5 / np.sqrt(2 * sample.size))
    assert abs(np.mean(sample)) < 5 * 0.25 / np.sqrt(sample.size)


def test_noise_leaves_the_rest_alone(draw, key):
    clean, noisy = draw(key, 0.0), draw(key, 0.5)
    assert eqx.tree_equal(clean.measurement, noisy.measurement)
    assert eqx.tree_equal(clean.ground_truth, noisy.ground_truth)
    assert not np.any(clean.targets == noisy.targets)


def test_seeds(draw, key):
    assert eqx.tree_equal(draw(key, 0.1), draw(key, 0.1))
    other = draw(jax.random.key(1), 0.1)
    assert not np.any(np.isclose(other.targets, draw(key, 0.1).targets))


def test_jit_is_eager(planted, draw, key):
    """Key and noise may be traced or not."""
    eager = planted[0](key=key, noise=0.3)
    compiled = draw(key, 0.3)
    assert jax.tree.structure(eager) == jax.tree.structure(compiled)
    for one, other in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(one, other, **ROUNDING)


def test_vmap_is_a_loop(draw, many):
    keys, together = many
    for lane in (0, 399):
        alone = draw(keys[lane], 0.25)
        for batch, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(batch[lane], one, **ROUNDING)


def test_residual_is_the_gradient_of_the_loss(draw, key):
    """In X the gradient of the loss is A*(r)."""
    problem = draw(key, 0.1)
    X = jax.random.normal(jax.random.key(3), (problem.dim, problem.dim))
    X = X + X.T
    stack, targets = np.array(problem.measurement.as_stack()), np.array(problem.targets)
    expected = np.einsum("kij,ij->k", stack, X) - targets
    np.testing.assert_allclose(problem.residual(X), expected, **ROUNDING)
    misfit = np.linalg.norm(expected) / np.linalg.norm(targets)
    np.testing.assert_allclose(problem.misfit(X), misfit, **ROUNDING)


def test_pytree(draw, key):
    problem = draw(key, 0.0)
    again = jax.tree.unflatten(jax.tree.structure(problem), jax.tree.leaves(problem))
    assert eqx.tree_equal(problem, again)
    assert eqx.tree_equal(problem, eqx.combine(*eqx.partition(problem, eqx.is_inexact_array)))
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, problem)
    buffer.seek(0)
    assert eqx.tree_equal(problem, eqx.tree_deserialise_leaves(buffer, draw(key, 1.0)))
