"""Jump times and saddles: exact ones of diagonal networks, critical points, and growth rates."""

import itertools

import numpy as np


# Times in units of log(1/alpha) / 2, by hand from the published algorithm.
TIMES = (4.4776119403, 9.0504922198, 31.2776624645, 194.6792680321)
SADDLES = ((0, 0.5, 0), (0.19811261, 0.41424976, 0), (0.57509527, 0, 0.3928043), (1, -0.5, 0.8))


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    scale = -ds.log10_alpha.values * np.log(10)
    growth = lambda name: np.diff(ds[name].values[-2:], axis=0)[0] / (scale[-1] - scale[-2])
    # Ten digits are given. The flow adds a constant to each time, which the difference removes,
    # and what remains is a power of alpha.
    np.testing.assert_allclose(2 * ds.network_tau, TIMES, rtol=1e-10)
    np.testing.assert_allclose(ds.network_saddle, SADDLES, atol=1e-8)
    np.testing.assert_allclose(2 * growth("network_jump_time"), TIMES, rtol=0.01)

    stack, y = ds.measurement_matrices.values, ds.targets.values
    mu = np.linalg.eigvalsh(np.tensordot(y, stack, 1))[::-1]
    np.testing.assert_allclose(ds.attrs["mu_1"], mu[0], rtol=1e-10)
    np.testing.assert_allclose(ds.tau[0], 1 / (2 * mu[0]), rtol=1e-10)
    np.testing.assert_allclose(growth("jump_time"), ds.tau, rtol=0.01)
    first = ds.saddle.values[0]
    # The second time: exponent 1 - mu_2/mu_1, growth 2 mu' on the complement of the first saddle.
    residual = np.tensordot(stack, first, 2) - y
    top = np.linalg.eigvalsh(-np.tensordot(residual, stack, 1))[-1]
    second = 1 / (2 * mu[0]) + (1 - mu[1] / mu[0]) / (2 * top)
    np.testing.assert_allclose(ds.tau[1], second, rtol=1e-6)
    for rank, X in enumerate(ds.saddle.values, start=1):
        G = np.tensordot(np.tensordot(stack, X, 2) - y, stack, 1)
        assert np.linalg.norm(G @ X) < 1e-8 * mu[0] * np.linalg.norm(X)
        values = np.linalg.eigvalsh(X)[::-1]
        assert values[rank - 1] > 1e-6 * values[0] > 1e3 * np.max(np.abs(values[rank:]))
    # The first escape, constant included: linear growth up to the level, 1e-4 of the end.
    np.testing.assert_allclose(ds.jump_time[:, 0], ds.predicted_first_jump, rtol=1e-3)
    size = np.linalg.norm(ds.saddle.values[-1], 2)
    # It comes as near to each saddle as eigenvalues of size alpha^gap allow, and ends at the last.
    for name in ("distance_of_saddle", "network_distance", "deep_distance_of_saddle"):
        last = ds[name].isel({"deep_log10_alpha" if name[:4] == "deep" else "log10_alpha": -1})
        assert float(last.max()) < 0.05
    assert float(ds.distance_of_end[-1]) < 0.05
    # One rank at a time: k eigenvalues between the times tau_k and tau_(k+1), and those of the
    # saddle long after its own.
    level, times = ds.attrs["level"] * size, ds.scaled_time.values
    edges = [0.0, *ds.tau.values, np.inf]
    for k, (begin, end) in enumerate(itertools.pairwise(edges)):
        inside = (times > 1.1 * begin) & (times < 0.75 * end)
        assert inside.any()
        assert np.all(np.sum(ds.eigenvalues.values[inside] > level, axis=1) == k)
    wanted = np.linalg.eigvalsh(ds.saddle.values[-1])[::-1][: ds.sizes["eigenvalue"]]
    np.testing.assert_allclose(ds.eigenvalues.values[-1], wanted, atol=0.05 * size)
    # The product of symmetric factors is symmetric, and stays so but for the growth of rounding.
    assert float(ds.deep_asymmetry.max()) < 1e-3
    for depth in ds.depth.values:
        p = 1 - 2 / depth
        alphas = 10.0**ds.deep_log10_alpha.values
        law = (alphas**-p - (ds.attrs["deep_level"] * size) ** -p) / ((depth - 2) * mu[0])
        np.testing.assert_allclose(ds.deep_predicted.sel(depth=depth), law, rtol=1e-6)
        np.testing.assert_allclose(ds.deep_escape_time.sel(depth=depth), law, rtol=0.03)
