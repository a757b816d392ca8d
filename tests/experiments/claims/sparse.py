"""The l1 norm of the flow within its bound, the transition of basis pursuit, and its optimality."""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

from implicit_flow.experiments import sparse


def least_l1(A, y):
    """Basis pursuit as a linear program in the positive and the negative part."""
    found = linprog(np.ones(2 * A.shape[1]), A_eq=np.hstack([A, -A]), b_eq=y)
    return found.x[: A.shape[1]] - found.x[A.shape[1] :]


def pursued(A, y, number):
    """Orthogonal matching pursuit with columns of norm 1."""
    chosen, x = [], np.zeros(A.shape[1])
    for _ in range(number):
        chosen.append(int(np.argmax(np.abs(A.T @ (y - A @ x)))))
        x[chosen] = np.linalg.lstsq(A[:, chosen], y, rcond=None)[0]
        if np.linalg.norm(y - A @ x) < 1e-12 * np.linalg.norm(y):
            break
    return x


def flow_end(A, y, log10_alpha):
    """x = 2 alpha sinh(2 A's) where ds/dt = y - Ax comes to rest."""
    depth = -log10_alpha * np.log(10)

    def x(s):
        # Trial steps of the solver go far beyond the end.
        grown = np.minimum([2 * s @ A - depth, -2 * s @ A - depth], 20)
        return np.exp(grown[0]) - np.exp(grown[1])

    time = 1e3 * depth / np.linalg.norm(y)
    found = solve_ivp(
        lambda t, s: y - A @ x(s), (0, time), np.zeros(len(y)), "LSODA", rtol=1e-8, atol=1e-8
    )
    return x(found.y[:, -1])


def check_vectors(ds):
    """The instances drawn again, and the three methods in plain NumPy and SciPy."""
    n, rng = ds.attrs["dim"], np.random.default_rng(int(ds.attrs["seed"]))
    for j, i, trial in np.ndindex(ds.least_l1_norm.shape):
        one = ds.isel(ratio=j, sparsity=i, instance=trial)
        m, k = round(float(one.ratio) * n), round(float(one.sparsity) * n)
        truth = np.zeros(n)
        truth[rng.choice(n, k, replace=False)] = rng.normal(size=k)
        A = rng.normal(size=(m, n))
        A = A / np.linalg.norm(A, axis=0)
        y = A @ truth
        names, found = (
            ["basis pursuit", "matching pursuit"],
            [least_l1(A, y), pursued(A, y, min(k, m))],
        )
        end = flow_end(A, y, ds.attrs["log10_alpha"]) if trial < 3 else np.zeros(n)
        # Some are slow, and not at rest by then.
        if np.linalg.norm(A @ end - y) < 1e-9 * np.linalg.norm(y):
            names, found = [*names, "Hadamard flow"], [*found, end]
        wanted = one.sel(algorithm=names)
        errors = np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth)
        np.testing.assert_allclose(wanted.error, errors, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(wanted.l1_norm, np.sum(np.abs(found), axis=1), rtol=1e-6)
        np.testing.assert_allclose(one.least_l1_norm, np.sum(np.abs(found[0])), rtol=1e-7)


def check_outcome(ds):
    """A flow that was to be integrated and of which nothing is left counts as one."""
    judged = lambda **other: sparse._outcome(ds.assign(other))["outcome"]
    assert judged() == "holds"
    names = ("flow_distance", "flow_error_estimate")
    assert judged(**{name: np.nan * ds[name] for name in names}) == "undecided"
    assert judged(error=ds.error.where(ds.algorithm != "basis pursuit")) == "undecided"
    assert judged(flow_distance=ds.flow_distance + 1e-3) == "fails"
    late = {"flow_error_estimate": np.nan * ds.flow_error_estimate}
    assert judged(**late, flow_distance=ds.flow_distance + 1e-3) == "undecided"


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    check_outcome(ds)
    check_vectors(ds)
    n = ds.attrs["dim"]
    least = ds.least_l1_norm
    excess = ds.l1_norm.sel(algorithm="Hadamard flow") / least - 1
    # Nothing that fits is below the least norm, and the flow is within its bound above it.
    assert bool((excess >= -1e-7).all())
    assert bool((excess <= sparse.bound(ds) + 1e-7).all())
    # Flows end where the closed form says, within what they say of themselves.
    solved, tried = ds.flow_error_estimate.notnull(), ds.flow_distance.notnull()
    assert int(solved.sum()) >= 0.7 * int(tried.sum()) > 0
    assert bool((tried == (ds.instance < tried.sum("instance"))).all())
    assert float(ds.flow_distance.min()) >= 0
    assert float(ds.flow_distance.max()) > 0
    # Those that were cut off too, but for few.
    assert int((ds.flow_distance <= 1e-5).sum()) >= 0.9 * int(tried.sum())
    assert float(ds.flow_error_estimate.max()) < 1e-3
    assert bool(((ds.flow_distance <= ds.flow_error_estimate + 1e-8) | ~solved).all())
    # Where x is recovered, no method has more than the norm of x, which is that of the others.
    recovered = ds.error < 1e-3
    flow, convex = (recovered.sel(algorithm=name) for name in ("Hadamard flow", "basis pursuit"))
    assert float((flow != convex).mean()) <= 0.1
    # Columns of norm 1 with one nonzero entry: nu = the column itself is a strict certificate.
    one = ds.sparsity.values * n < 1.5
    assert bool(convex.values[:, one].all())
    assert bool(recovered.sel(algorithm="matching pursuit").values[:, one].all())
    # Vertices of l1 balls have no more nonzero entries than there are equations.
    too_many = ds.sparsity > ds.ratio + 1e-9
    assert not bool(convex.where(too_many, False).any())
    # Far from the transition, at four standard deviations, the theorem promises 96%.
    far = 2 / np.sqrt(n)
    for region, wanted in (
        (ds.ratio > ds.transition + far, 1),
        (ds.ratio < ds.transition - far, 0),
    ):
        if bool(region.any()):
            assert abs(float(convex.mean("instance").where(region).mean()) - wanted) < 0.1
    # The transition, as the least expected squared distance of a Gaussian vector from tau times the
    # subdifferential, with the expectation by quadrature.
    taus = np.linspace(0, 6, 601)
    grid = np.linspace(0, 12, 24001)
    density = 2 * np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    tails = [np.trapezoid(np.maximum(grid - tau, 0) ** 2 * density, grid) for tau in taus]
    for rho, found in zip(ds.sparsity.values, ds.transition.values, strict=True):
        least = np.min(rho * (1 + taus**2) + (1 - rho) * np.array(tails))
        assert abs(found - least) < 0.02
    # Statistical dimensions, known in closed form at the ends.
    assert abs(sparse.statistical_dimension(1.0) - 1) < 1e-6
    assert sparse.statistical_dimension(1e-9) < 1e-6
