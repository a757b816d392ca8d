"""The velocity of each parametrization is minus its gradient, on the clock that is documented."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow.parametrizations import Deep, Factor, Hadamard, Identity, SignedHadamard


# (parametrization, share of the autodiff gradient of <generator, X(theta)> that its clock has)
REGISTRY = {
    "factor": (Factor(), 1 / 2),
    "factor with columns": (Factor(rank=2), 1 / 2),
    "hadamard 2": (Hadamard(2), 1 / 2),
    "hadamard 3": (Hadamard(3), 1 / 3),
    "signed 2": (SignedHadamard(2), 1 / 2),
    "signed 4": (SignedHadamard(4), 1 / 4),
    "deep 1": (Deep(1), 1.0),
    "deep 3": (Deep(3), 1.0),
    "identity": (Identity(), 1.0),
}
DIM = 3


def perturbed(theta, key):
    leaves, structure = jax.tree.flatten(theta)
    keys = jax.random.split(key, len(leaves))
    moved = [leaf + jax.random.uniform(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


@pytest.mark.parametrize("name", REGISTRY)
def test_velocity_is_minus_the_gradient(name, key):
    parametrization, clock = REGISTRY[name]
    theta = parametrization.init(DIM, jnp.array(0.0), None, np.dtype("float64"))
    theta = perturbed(theta, key)
    X = parametrization.unknown(theta)
    G = jax.random.normal(jax.random.key(1), X.shape)
    G = (G + G.T) / 2 if X.ndim == 2 else G
    gradient = jax.grad(lambda th: jnp.sum(G * parametrization.unknown(th)))(theta)
    velocity = parametrization.velocity(theta, G)
    for v, g in zip(jax.tree.leaves(velocity), jax.tree.leaves(gradient), strict=True):
        # Rounding of a few products of numbers of order one.
        np.testing.assert_allclose(v, -clock * g, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in REGISTRY if name not in ("identity",)])
def test_alpha_is_the_scale_of_the_unknown(name):
    parametrization, _ = REGISTRY[name]
    one, scaled = (
        parametrization.init(DIM, jnp.log(alpha), None, np.dtype("float64"))
        for alpha in (1.0, 1e-3)
    )
    if isinstance(parametrization, SignedHadamard):
        one, scaled = (theta[0] ** parametrization.depth for theta in (one, scaled))
    else:
        one, scaled = parametrization.unknown(one), parametrization.unknown(scaled)
    assert jnp.linalg.norm(one) > 0
    np.testing.assert_allclose(scaled, 1e-3 * one, rtol=1e-13)


def test_the_gaussian_start_has_the_identity_as_its_mean():
    frames = jnp.stack([Factor(2, seed).frame(3, None, np.dtype("float64")) for seed in range(400)])
    mean = jnp.mean(frames @ jnp.swapaxes(frames, 1, 2), axis=0)
    # Entries of X~ have variance at most 1, so their mean over 400 has a deviation of 0.05.
    np.testing.assert_allclose(mean, jnp.eye(3), atol=0.25)


@pytest.mark.parametrize(
    ("parametrization", "init", "message"),
    [
        (Factor(), np.ones((2, 2)), r"`init` must be U~ of shape \(n, d\) = \(3, d\)"),
        (Factor(), np.ones(3), r"`init` must be U~"),
        (Factor(), np.array([[1.0, 0.0]] * 3), "no zero column, but column 1 is zero"),
        (Factor(), np.full((3, 1), np.nan), "`init` must be finite"),
        (Hadamard(2), np.array([1.0, 0.0, 1.0]), "`init` must be positive"),
        (Hadamard(2), np.ones(2), r"`init` must have shape \(3,\)"),
        (SignedHadamard(2), -np.ones(3), "`init` must be positive"),
        (Deep(2), np.ones((3, 3, 3)), r"`init` must have shape \(2, 3, 3\)"),
        (Identity(), np.ones((3, 3)), "`init` must be None"),
    ],
)
def test_bad_starts_are_refused(parametrization, init, message):
    with pytest.raises(ValueError, match=message):
        parametrization.init(DIM, jnp.array(0.0), init, np.dtype("float64"))


@pytest.mark.parametrize(
    "make", [lambda: Factor(0), lambda: Hadamard(1), lambda: SignedHadamard(1), lambda: Deep(0)]
)
def test_bad_sizes_are_refused(make):
    with pytest.raises(ValueError, match="must be at least"):
        make()
