"""Jump times and saddles: exact ones of diagonal networks, critical points, and growth rates."""

import itertools

import numpy as np
import xarray
from scipy.integrate import solve_ivp

from implicit_flow.experiments._jump_times import around
from implicit_flow.experiments.greedy_low_rank import _outcome


# Times in units of log(1/alpha) / 2, by hand from the published algorithm.
TIMES = (4.4776119403, 9.0504922198, 31.2776624645, 194.6792680321)
SADDLES = ((0, 0.5, 0), (0.19811261, 0.41424976, 0), (0.57509527, 0, 0.3928043), (1, -0.5, 0.8))


NUM_TIMES = {"tiny": 60, "quick": 200, "full": 400}
# The published diagonal network, in units in which its loss is |Ax - y|^2 / 2.
DATA = np.array([[1, 0.5, -0.3], [0.2, 1, 0.8], [-0.4, 0.3, 1]]) / np.sqrt(3)


def followed(velocity, start, times, method, rtol, atol):
    found = solve_ivp(velocity, (0, times[-1]), start, method=method, t_eval=times, rtol=rtol,
                      atol=atol)  # fmt: skip
    assert found.success
    return found.y.T


def crossed(times, sizes, level):
    """When a size passes a level, between times by exponential growth."""
    last = int(np.argmax(sizes > level))
    before, after = np.log(sizes[last - 1 : last + 1] / level)
    return times[last] - (times[last] - times[last - 1]) * after / (after - before)


def least_distances(points, saddles):
    gaps = points[:, None] - saddles
    axes = tuple(range(2, gaps.ndim))
    sizes = np.sqrt(np.sum(saddles**2, axis=tuple(range(1, saddles.ndim))))
    return np.sqrt(np.sum(gaps**2, axis=axes)).min(axis=0) / sizes


def check_factor(ds):
    """The flow from the largest start, as SciPy finds it: U' = -A*(r) U.

    From smaller ones rounding spoils what SciPy finds.
    """
    stack, y, saddles = (ds[k].values for k in ("measurement_matrices", "targets", "saddle"))
    n, flat, size = ds.attrs["dim"], stack.reshape(len(y), -1), np.linalg.norm(saddles[-1], 2)
    one = ds.isel(log10_alpha=0)
    scale = -float(one.log10_alpha) * np.log(10)
    times = ds.scaled_time.values * scale

    def velocity(t, u):
        U = u.reshape(n, n)
        return (((y - flat @ (U @ U.T).ravel()) @ flat).reshape(n, n) @ U).ravel()

    start = np.exp(-scale / 2)
    U = followed(velocity, start * np.eye(n).ravel(), times, "DOP853", 1e-9, 1e-10 * start)
    Xs = np.einsum("tij,tkj->tik", U.reshape(-1, n, n), U.reshape(-1, n, n))
    values = np.linalg.eigvalsh(Xs)[:, ::-1]
    jumps = [crossed(times, values[:, k], 1e-4 * size) for k in range(2)]
    near = least_distances(Xs, saddles)
    # Asked for 1e-4 of X; what is near a saddle is a small difference.
    np.testing.assert_allclose(one.jump_time, jumps, rtol=1e-4)
    np.testing.assert_allclose(one.distance_of_saddle, near, rtol=2e-2, atol=1e-6)
    end = least_distances(Xs[-1:], saddles)[-1]
    np.testing.assert_allclose(one.distance_of_end, end, rtol=1e-3, atol=1e-6)
    assert abs(float(one.distance_of_end) - end) <= float(one.error_estimate)
    # From the smallest start: matrices are at least as far apart as their sorted eigenvalues.
    last, shown = ds.isel(log10_alpha=-1), ds.sizes["eigenvalue"]
    wanted = np.linalg.eigvalsh(saddles)[:, ::-1][:, :shown]
    apart = np.linalg.norm(ds.eigenvalues.values[:, None] - wanted, axis=2)
    sizes = np.linalg.norm(saddles, axis=(1, 2))
    assert np.all(last.distance_of_saddle >= apart.min(axis=0) / sizes - 1e-12)
    assert float(last.distance_of_end) >= apart[-1, -1] / sizes[-1] - 1e-12
    # The end is a point of the path.
    assert np.all(ds.distance_of_saddle[:, -1] <= ds.distance_of_end)
    assert np.all(ds.error_estimate > 0)


def check_networks(ds):
    """x = 2 alpha sinh(2 A's), ds/dt = -r: at any alpha."""
    grid, y = around(ds.network_tau.values, NUM_TIMES[ds.attrs["setting"]]), DATA @ SADDLES[-1]
    for k, log10_alpha in enumerate(ds.log10_alpha.values):
        scale = -log10_alpha * np.log(10)

        def x(s, scale=scale):
            # Trial steps of the solver go far beyond 1.
            grown = np.minimum([2 * s @ DATA - scale, -2 * s @ DATA - scale], 10)
            return np.exp(grown[0]) - np.exp(grown[1])

        s = followed(
            lambda t, s, x=x: y - DATA @ x(s), np.zeros(3), grid * scale, "LSODA", 1e-9, 1e-9
        )
        xs = x(s)
        near = least_distances(xs, ds.network_saddle.values)
        # Smaller ones are the solver's own error.
        np.testing.assert_allclose(ds.network_distance[k], near, rtol=1e-2, atol=1e-7)
        # The coordinates that come to life, with their signs.
        newcomers = [xs[:, 1], xs[:, 0], xs[:, 2], -xs[:, 1]]
        jumps = [crossed(grid * scale, np.maximum(row, 1e-300), 1e-4) for row in newcomers]
        np.testing.assert_allclose(ds.network_jump_time[k], jumps, rtol=1e-5)


def check_deep(ds):
    """X' = sum_j X^(2(j-1)/N) A*(-r) X^(2(N-j)/N), of a product that starts at a multiple of I."""
    stack, y, saddles = (ds[k].values for k in ("measurement_matrices", "targets", "saddle"))
    n, flat, mu = ds.attrs["dim"], stack.reshape(len(y), -1), ds.attrs["mu_1"]
    second = np.linalg.eigvalsh(((y - flat @ saddles[0].ravel()) @ flat).reshape(n, n))[-1]
    for depth in ds.depth.values:
        one = ds.sel(depth=depth).isel(deep_log10_alpha=0)
        alpha, number = 10.0 ** float(one.deep_log10_alpha), NUM_TIMES[ds.attrs["setting"]]
        unit = alpha ** (2 / depth - 1) / (depth - 2)
        early = np.linspace(0, 1.2 * unit / mu, number)
        late = np.geomspace(1.21 * unit / mu, 3 * unit / second, number)
        powers = 2 * np.arange(depth) / depth

        def velocity(t, x, depth=depth, powers=powers):
            X = x.reshape(n, n)
            values, Q = np.linalg.eigh((X + X.T) / 2)
            grown = np.maximum(values, 0) ** powers[:, None]
            force = Q.T @ ((y - flat @ x) @ flat).reshape(n, n) @ Q
            return (Q @ (force * (grown.T @ grown[::-1])) @ Q.T).ravel()

        X = followed(
            velocity,
            alpha * np.eye(n).ravel(),
            np.concatenate([early, late]),
            "DOP853",
            1e-7,
            1e-7 * alpha,
        )
        near = least_distances(X.reshape(-1, n, n), saddles)
        np.testing.assert_allclose(one.deep_distance_of_saddle, near, rtol=1e-2)


def check_outcome(ds):
    """It is the numbers that decide, and a saddle that is not near decides nothing."""
    judged = lambda **other: _outcome(ds.assign(other))["outcome"]
    assert judged() == "holds"
    late = xarray.where(ds.log10_alpha == ds.log10_alpha.min(), 1.05, 1.0)
    assert judged(jump_time=ds.jump_time * late) == "fails"
    for name in ("distance_of_saddle", "network_distance"):
        far = xarray.where(ds.log10_alpha == ds.log10_alpha[-2], 0.1, 0.0)
        assert judged(**{name: ds[name] + far}) == "undecided"
    assert judged(deep_escape_time=1.1 * ds.deep_escape_time) == "fails"
    for name in ("distance_of_saddle", "network_distance", "deep_distance_of_saddle"):
        assert judged(**{name: ds[name] + 0.1}) == "undecided"
    assert judged(distance_of_saddle=ds.distance_of_saddle + 0.01) == "undecided"


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    check_outcome(ds)
    assert all(ds[name].all() for name in ("reached", "network_reached", "deep_reached"))
    check_factor(ds)
    check_networks(ds)
    check_deep(ds)
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
    np.testing.assert_allclose(ds.eigenvalues.values[-1], wanted, atol=0.05 * float(size))
    # The product of symmetric factors is symmetric, and stays so but for the growth of rounding.
    assert float(ds.deep_asymmetry.max()) < 1e-3
    for depth in ds.depth.values:
        p = 1 - 2 / depth
        alphas = 10.0**ds.deep_log10_alpha.values
        law = (alphas**-p - (ds.attrs["deep_level"] * size) ** -p) / ((depth - 2) * mu[0])
        np.testing.assert_allclose(ds.deep_predicted.sel(depth=depth), law, rtol=1e-6)
        np.testing.assert_allclose(ds.deep_escape_time.sel(depth=depth), law, rtol=0.03)
