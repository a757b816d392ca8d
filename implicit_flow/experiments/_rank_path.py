"""W_k, the least of loss + lambda times trace norm over the matrices of rank k, as k grows."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize

from .. import _checks


class Ratings(NamedTuple):
    """A matrix of which some entries are for training and others for testing.

    Attributes:
        values: shape (p, q); zero where nothing is known.
        train: 1 at entries for training, 0 elsewhere.
        test: 1 at entries for testing, 0 elsewhere.
    """

    values: Float[np.ndarray, "p q"]
    train: Float[np.ndarray, "p q"]
    test: Float[np.ndarray, "p q"]


def synthetic(
    shape: tuple[int, int], rank: int, noise: float, share: float, random: np.random.Generator
) -> Ratings:
    """A random matrix of low rank with a decaying spectrum and entries of variance 1, and noise.

    Args:
        shape: users and items.
        rank: of the matrix without noise.
        noise: standard deviation of what is added to each entry.
        share: of the entries that are for training; the others are for testing.
        random: of everything.

    Returns:
        The ratings.
    """
    p, q = shape
    low = (random.standard_normal((p, rank)) * 0.7 ** np.arange(rank)) @ random.standard_normal(
        (rank, q)
    )
    values = low / np.std(low) + noise * random.standard_normal(shape)
    train = (random.random(shape) < share).astype(float)
    return Ratings(values, train, 1 - train)


def jester(
    data_dir: str | Path, num_users: int, share: float, random: np.random.Generator
) -> Ratings:
    """Ratings of a hundred jokes by some users, centered and scaled by those for training.

    Args:
        data_dir: with `jester5k_ratings.npz`: `ratings`, users by items, nan where unrated.
        num_users: drawn at random.
        share: of the known ratings that are for training.
        random: of the users and of the split.

    Returns:
        The ratings.

    Raises:
        ValueError: the file is missing, or is another one.
    """
    file = Path(data_dir) / "jester5k_ratings.npz"
    if not file.is_file():
        _checks.refuse("data_dir", "hold jester5k_ratings.npz", f"{data_dir} does not")
    with np.load(file, allow_pickle=False) as archive:
        if "ratings" not in archive:
            _checks.refuse("data_dir", "hold `ratings` in jester5k_ratings.npz", "they are missing")
        known = np.asarray(archive["ratings"], float)
    if known.ndim != 2:
        _checks.refuse("data_dir", "hold ratings of users by items", f"has shape {known.shape}")
    if num_users > len(known):
        _checks.refuse("num_users", f"be at most {len(known)}", f"is {num_users}")
    known = known[np.sort(random.choice(len(known), num_users, replace=False))]
    there = np.isfinite(known)
    train = there & (random.random(known.shape) < share)
    count = np.maximum(train.sum(0), 1)
    centered = known - np.where(train, known, 0).sum(0) / count
    scaled = np.where(there, centered, 0) / np.std(centered[train])
    return Ratings(scaled, train.astype(float), (there & ~train).astype(float))


def ranks_that_may_fit(shape: tuple[int, int], num_entries: int) -> int:
    """The least k at which matrices of rank k have as many parameters as there are entries."""
    p, q = shape
    fits = [k for k in range(1, min(p, q) + 1) if k * (p + q - k) >= num_entries]
    return fits[0] if fits else min(p, q)


def rank_path(
    ratings: Ratings, ranks: tuple[int, ...], penalty: float, random: np.random.Generator
) -> list[dict[str, Any]]:
    r"""W_k for growing k, by descent over factors of k columns from W of the k before.

    The objective is $\frac12\|P(UV') - y\|^2 + \frac\lambda2(\|U\|_F^2 + \|V\|_F^2)$ with P the
    entries for training, whose least value over U and V of k columns is that of
    $\frac12\|P(W) - y\|^2 + \lambda\|W\|_{tr}$ over rank k. Any residual, scaled to an operator
    norm of at most lambda, bounds the minimum over all ranks from below.

    Args:
        ratings: for training and testing.
        ranks: increasing.
        penalty: lambda.
        random: of the columns that are added.

    Returns:
        For each k: objective, a lower bound of it over all ranks, trace norm, rank, errors, and
        the squared errors on the entries for testing.
    """
    (p, q), most = ratings.values.shape, max(ranks)
    split = p * most
    values, train = jnp.asarray(ratings.values), jnp.asarray(ratings.train)
    x, rows, before = np.zeros((p + q) * most), [], 0
    for k in ranks:
        # Columns of zeros stay zero under descent: one program serves all ranks.
        for factor in (x[:split].reshape(p, most), x[split:].reshape(q, most)):
            factor[:, before:k] = 0.1 * random.standard_normal((len(factor), k - before))
        before = k

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = _penalized(jnp.asarray(x), values, train, penalty)
            return float(value), np.asarray(slope)

        options: Any = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-13, "gtol": 1e-7, "maxcor": 20}
        found = minimize(objective, x, jac=True, method="L-BFGS-B", options=options)
        x = np.array(found.x)
        rows.append(
            row_of(x[:split].reshape(p, most) @ x[split:].reshape(q, most).T, ratings, penalty)
        )
    return rows


@jax.jit
def _penalized(
    x: Float[Array, " s"],
    values: Float[Array, "p q"],
    train: Float[Array, "p q"],
    penalty: Float[Array, ""] | float,
) -> tuple[Float[Array, ""], Float[Array, " s"]]:
    p, q = values.shape
    most = x.shape[0] // (p + q)

    def objective(x: Float[Array, " s"]) -> Float[Array, ""]:
        U, V = x[: p * most].reshape(p, most), x[p * most :].reshape(q, most)
        misfit = train * (U @ V.T - values)
        return 0.5 * jnp.sum(misfit**2) + 0.5 * penalty * jnp.sum(x**2)

    return jax.value_and_grad(objective)(x)


def row_of(W: Float[np.ndarray, "p q"], ratings: Ratings, penalty: float) -> dict[str, Any]:
    """What is said of one matrix.

    Args:
        W: of any rank.
        ratings: for training and testing.
        penalty: lambda.

    Returns:
        As `rank_path` does for each k.
    """
    singular = np.linalg.svd(W, compute_uv=False)
    error = W - ratings.values
    residual = ratings.train * error
    theta = residual * min(1.0, penalty / max(float(np.linalg.norm(residual, 2)), 1e-300))
    squares = error[ratings.test > 0] ** 2
    return {
        "objective": float(0.5 * np.sum(residual**2) + penalty * np.sum(singular)),
        "lower_bound": float(-0.5 * np.sum(theta**2) - np.sum(theta * ratings.values)),
        "trace_norm": float(np.sum(singular)),
        "rank": int(np.sum(singular > 1e-6 * singular[0])) if singular[0] > 0 else 0,
        "train_error": float(np.sqrt(np.mean(residual[ratings.train > 0] ** 2))),
        "test_error": float(np.sqrt(np.mean(squares))),
        "squares": squares,
    }
