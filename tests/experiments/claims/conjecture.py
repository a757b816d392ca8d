"""The counterexamples' numbers are known; commuting limits are least, by a theorem."""

import numpy as np
from scipy.integrate import solve_ivp

from implicit_flow.experiments._conjecture_instances import _DENSE


# The known counterexamples.
ENTRIES = np.zeros((3, 4, 4))
ENTRIES[[0, 1, 2], [0, 0, 1], [2, 3, 2]] = 0.5
KNOWN = {
    "3 x 3": (
        np.array([[[2.0, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]]),
        np.array([4.0, 3.0]),
    ),
    "4 x 4": (ENTRIES + np.swapaxes(ENTRIES, 1, 2), np.array([1.0, 2.0, 2.0])),
}


def drawn(kind, sizes, rng):
    """Matrices and targets of a random problem, in NumPy, in the order in which they are drawn."""
    dim, rank, num_measurements = map(int, sizes)
    if kind == "commuting":
        basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
        spectra = rng.normal(size=(num_measurements, dim))
        planted = np.where(np.arange(dim) < rank + 1, rng.uniform(0.5, 1.5, dim), 0)
        return np.einsum("kl,il,jl->kij", spectra, basis, basis), spectra @ planted
    A, U = _DENSE[kind](dim, rank, num_measurements, rng)
    return A, np.einsum("kij,ij->k", A, U @ U.T)


def rank_one_limit(A, y):
    """u u' where the flow of rank 1 from 0 comes to rest, along the top eigenvector of A*(y).

    NaN where the flow stays in fewer dimensions: rounding alone would take it out of them.
    """
    values, vectors = np.linalg.eigh(np.tensordot(y, A, 1))
    growth = values[-1]
    reached = vectors[:, -1:]
    for _ in range(len(values)):
        reached = np.concatenate([reached, *(matrix @ reached for matrix in A)], axis=1)
        basis, sizes, _ = np.linalg.svd(reached, full_matrices=False)
        reached = basis[:, sizes > 1e-6 * sizes[0]]
    if reached.shape[1] < len(values):
        return np.full(A[0].shape, np.nan)
    # The way that leaves 0 is this line up to the square of the start.
    start = 1e-6 * np.sqrt(np.linalg.norm(y) / np.linalg.norm(A)) * vectors[:, -1]
    velocity = lambda t, u: (((y - (A @ u) @ u) @ A.reshape(len(y), -1)).reshape(A[0].shape)) @ u
    found = solve_ivp(
        velocity,
        (0, 1000 / growth),
        start,
        method="LSODA",
        rtol=1e-9,
        atol=1e-12 * np.abs(start).max(),
    )
    u = found.y[:, -1]
    return np.outer(u, u)


def check_limit(one, before, A, y):
    """What is said of one limit, from its X; and X, where it has rank 1, by SciPy."""
    X = one[f"{before}X"].values[: A.shape[1], : A.shape[1]]
    get = lambda name: float(one[f"{before}{name}"])
    values = np.linalg.eigvalsh(X)
    assert values[0] > -1e-12 * values[-1]
    np.testing.assert_allclose(get("nuclear_norm"), np.sum(values), rtol=1e-12)
    assert get("limit_rank") == np.sum(values > 1e-6 * values[-1])
    misfit = np.linalg.norm(np.einsum("kij,ij->k", A, X) - y) / np.linalg.norm(y)
    # Rounding of A(X) - y.
    np.testing.assert_allclose(get("misfit"), misfit, rtol=1e-3, atol=1e-14)
    # The bound by which the gap is measured is the least norm, by duality: attained here.
    np.testing.assert_allclose(get("gap"), get("excess"), rtol=1e-5, atol=1e-7)
    # Where a flow of rank 1 fits, all greater ones end there too, as far as the estimate says.
    Y = rank_one_limit(A, y)
    if np.linalg.norm(np.einsum("kij,ij->k", A, Y) - y) < 1e-8 * np.linalg.norm(y):
        assert np.linalg.norm(X - Y) <= (get("limit_error") + 1e-8) * np.linalg.norm(X)
    assert get("limit_error") > 0


def check_starts(ds):
    """Greedy learning of the rank does not know the start, if that has as many columns."""
    dense = [name for name in ds.kind.values if name != "commuting"]
    numbers = [(name, k) for name in dense for k in range(min(2, ds.sizes["instance"]))]
    for (name, k), problem in zip(numbers, range(ds.sizes["problem"]), strict=False):
        one = ds.sel(kind=name).isel(instance=k)
        found = ds.isel(problem=problem)
        # The same flow, ended twice.
        np.testing.assert_allclose(found.excess_by_start[0], one.excess, atol=1e-9)
        np.testing.assert_allclose(found.misfit_by_start[0], one.misfit, rtol=0.1, atol=1e-12)
        # From fewer columns nothing is known where no measurement connects all rows.
        known = np.isfinite(found.excess_by_start.values)
        assert np.all(known[[0, -1]])
        enough = known & (found.num_columns.values >= int(one.limit_rank))
        allowed = 1e-6 + 10 * float(one.limit_error) * (1 + float(one.excess))
        assert np.all(np.abs(found.excess_by_start[enough] - one.excess) < allowed)
        assert np.all(found.misfit_by_start[enough] < 1e-6)
    assert float(ds.misfit_by_start.min()) >= 0


def check(ds):
    assert ds.attrs["outcome"] == "fails"
    # Least norm and norm of the limit, found beforehand by a program that shares no code.
    known = {
        "3 x 3": (1.674316024366309, 1.678507352080517),
        "4 x 4": (8.0, 10.0),
    }
    for name in ds.known.values:
        one = ds.sel(known=name)
        least, limit = known[str(name)]
        # The convex solver's gap, and the limit's own error.
        assert abs(float(one.known_least_nuclear_norm) / least - 1) < 1e-6
        assert abs(float(one.known_nuclear_norm) / limit - 1) < 1e-6
        assert one.known_verdict == "not minimal"
        check_limit(one, "known_", *KNOWN[str(name)])
        # A proof may not claim more than is true.
        assert 0 < float(one.known_excess_at_least) <= limit / least - 1 + 1e-6
    if "4 x 4" in ds.known.values:
        assert int(ds.sel(known="4 x 4").known_limit_rank) == 1
        traces = {-2.0: 8.0935, -4.0: 8.6767, -8.0: 9.8061, -12.0: 9.9932}
        for log10_alpha, trace in traces.items():
            found = ds.known_norm.sel(known="4 x 4", log10_alpha=log10_alpha)
            assert abs(float(found) - trace) < 1e-4
    rng = np.random.default_rng(int(ds.attrs["seed"]))
    sizes = [ds.attrs[key] for key in ("dim", "rank", "num_measurements")]
    for name in ds.kind.values:
        for k in range(ds.sizes["instance"]):
            A, y = drawn(str(name), sizes, rng)
            check_limit(ds.sel(kind=name).isel(instance=k), "", A, y)
    # What is said to be above the least norm is so, and no more.
    for before in ("", "known_"):
        ratio = ds[f"{before}nuclear_norm"] / ds[f"{before}least_nuclear_norm"]
        np.testing.assert_allclose(ds[f"{before}excess"], ratio - 1, atol=1e-12)
        assert np.all(ds[f"{before}excess_at_least"] <= ds[f"{before}excess"] + 1e-6)
    # From other starts too: what fits is not below the least norm.
    fits = (ds.misfit_by_start < 1e-6) & np.isfinite(ds.excess_by_start)
    assert np.all(ds.excess_by_start.where(fits, 0) > -1e-6)
    assert np.any(ds.misfit_by_start < 1e-6)
    check_starts(ds)
    # The finer ladder ends where the ladder of the limit ends, at 1e-300.
    np.testing.assert_allclose(ds.known_norm[:, -1], ds.known_nuclear_norm, rtol=1e-6)
    # Nothing that fits has less than the least norm; no verdict is more certain than its numbers.
    fits = ds.misfit < 1e-6
    assert np.all(ds.excess.where(fits, 0) > -1e-6)
    assert np.all((ds.excess_at_least > 0) | (ds.verdict != "not minimal"))
    assert np.all((abs(ds.excess) < 1e-3) | (ds.verdict != "minimal"))
    if "commuting" in ds.kind.values:
        commuting = ds.sel(kind="commuting")
        assert not np.any(commuting.verdict == "not minimal")
        # Exponents g are no smaller than some 0.1 here, and alpha is 1e-300.
        assert np.all(commuting.excess < 1e-6)
    if "step_size" in ds.dims:
        # The path of gradient descent is off by the order of its step.
        ratio = ds.distance_by_step.values[:-1] / ds.distance_by_step.values[1:]
        halved = ds.step_size.values[:-1] / ds.step_size.values[1:]
        np.testing.assert_allclose(ratio, halved, rtol=0.25)
    if "spectrum" in ds.dims:
        # With nr / 4 numbers nobody can know nr: no method recovers, this one neither.
        assert np.all(ds.recovery_error.sel(measurements="nr/4") > 0.3)
        assert float(ds.recovery_error.sel(measurements="3nr", spectrum="rank 2")) < 0.05
        assert np.all(ds.recovery_misfit < 1e-2)
