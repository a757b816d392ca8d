"""Optimality of every end, in NumPy; both ends of the path; flows within their errors."""

import numpy as np
from scipy.optimize import linprog

from implicit_flow.experiments import kernel_and_rich


def potential_slope(x, alpha, depth):
    """The z with x = alpha h_D(z), entry by entry; of depth 2, arcsinh(x / 2 alpha)."""
    if depth == 2:
        return np.arcsinh(x / (2 * alpha))
    from scipy.optimize import brentq

    p = depth / (depth - 2)

    def over(z, value):
        return (1 - z) ** -p - (1 + z) ** -p - value

    end = 1 - 1e-15
    return np.array([brentq(over, -end, end, args=(v / alpha,), xtol=1e-15) for v in x])


def minimizer(A, y, alpha, depth):
    """alpha h_D(A'nu) that fits, by damped steps of Newton on the convex dual."""
    if depth == 2:
        dual = lambda z: 2 * np.cosh(z) if np.all(np.abs(z) < 700) else np.inf
        slopes = lambda z: (2 * np.sinh(z), 2 * np.cosh(z))
    else:
        q = 2 / (depth - 2)

        def dual(z):
            return ((1 - z) ** -q + (1 + z) ** -q) / q if np.all(np.abs(z) < 1) else np.inf

        def slopes(z):
            first = (1 - z) ** (-q - 1) - (1 + z) ** (-q - 1)
            return first, (q + 1) * ((1 - z) ** (-q - 2) + (1 + z) ** (-q - 2))

    nu = np.zeros(len(y))
    value = lambda nu: alpha * np.sum(dual(nu @ A)) - nu @ y
    for _ in range(500):
        first, second = slopes(nu @ A)
        miss = A @ (alpha * first) - y
        step = np.linalg.solve((A * (alpha * second)) @ A.T, miss)
        size = 1.0
        # Armijo's rule; near the end values differ by rounding alone.
        while value(nu - size * step) > value(nu) - 0.25 * size * (miss @ step) + 1e-13:
            size /= 2
        nu = nu - size * step
        if np.linalg.norm(miss) < 1e-13 * np.linalg.norm(y):
            break
    return alpha * slopes(nu @ A)[0]


def check_flows(ds, A, y):
    """Ends of flows against the minimizers of the potential."""
    for depth in ds.depth.values:
        for place in ds.flow_log10_alpha.values:
            one = ds.sel(depth=depth, flow_log10_alpha=place)
            if not np.isnan(one.flow_distance):
                x = minimizer(A, y, 10.0**place, depth)
                distance = np.linalg.norm(one.flow_x - x) / np.linalg.norm(x)
                # Both know x to rounding, and so the distance in absolute terms.
                np.testing.assert_allclose(one.flow_distance, distance, rtol=1e-4, atol=1e-12)


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    A, y = ds.rows.values, ds.targets.values
    pseudo = np.linalg.pinv(A)
    for depth in ds.depth.values:
        for place in ds.log10_alpha.values[ds.log10_alpha.values >= -2]:
            x = ds.x.sel(depth=depth, log10_alpha=place).values
            assert np.linalg.norm(A @ x - y) < 1e-10 * np.linalg.norm(y)
            theta = potential_slope(x, 10.0**place, depth)
            # In the row space: with A x = y, necessary and sufficient for the minimizer. The
            # inverse of h_D loses digits where z nears 1.
            outside = theta - pseudo @ (A @ theta)
            assert np.linalg.norm(outside) < 1e-6 * np.linalg.norm(theta)
    # What a flow says of its own error holds; 1e-9 for the closed form at the largest alpha.
    late = ds.flow_distance > ds.flow_error_estimate + 1e-9
    assert not bool(late.any())
    check_flows(ds, A, y)
    integrated = ds.flow_distance.notnull()
    assert bool((integrated.all("flow_log10_alpha") | ~integrated.any("flow_log10_alpha")).all())
    assert bool(integrated.sel(depth=2).all())
    # Nothing is below the least norms, and the least l2 norm is that of the pseudo-inverse.
    assert float(ds.l1_excess.min()) > -1e-7
    assert float(ds.l2_excess.min()) > -1e-9
    np.testing.assert_allclose(ds.x_l2, pseudo @ y, atol=1e-9)
    # The least l1 norm by SciPy's linear program, over the positive and the negative parts.
    parts = linprog(np.ones(2 * A.shape[1]), A_eq=np.hstack([A, -A]), b_eq=y, bounds=(0, None))
    np.testing.assert_allclose(np.sum(np.abs(ds.x_l1)), parts.fun, rtol=1e-7)
    np.testing.assert_allclose(A @ ds.x_l1.values, y, atol=1e-7 * float(np.linalg.norm(y)))
    norms = np.abs(ds.x).sum("coordinate")
    np.testing.assert_allclose(norms / parts.fun - 1, ds.l1_excess, atol=1e-6)
    norms = np.sqrt((ds.x**2).sum("coordinate"))
    np.testing.assert_allclose(norms / np.linalg.norm(pseudo @ y) - 1, ds.l2_excess, atol=1e-7)
    # Kernel: odd functions are linear near 0, with an error of (x / alpha)^2.
    assert float(ds.l2_excess.isel(log10_alpha=0).max()) < 1e-6
    # Rich: the bound at depth 2, and order alpha beyond: b_i = alpha h_D(z_i) off the support.
    excess = ds.l1_excess.sel(depth=2)
    assert bool((excess <= kernel_and_rich.least_l1_bound(ds) + 1e-7).all())
    deep = ds.l1_excess.where(ds.depth > 2, drop=True).isel(log10_alpha=-1)
    assert float(deep.max()) < float(excess[-1]) + 1e-9
    for depth, exponent in kernel_and_rich.slope(ds).items():
        if depth > 2:
            assert 0.8 < exponent < 1.2
