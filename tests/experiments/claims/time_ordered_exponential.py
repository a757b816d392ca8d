"""Orders of products, a propagator by Runge-Kutta, and the known limit of the counterexample."""

import numpy as np
from scipy.integrate import solve_ivp

from implicit_flow.experiments._ordered_products import exact_rotating, rotating


def exponential(B):
    """Of a 2 x 2 matrix without trace, whose square is a multiple of the identity."""
    root = np.emath.sqrt(-np.linalg.det(B))
    ratio = np.real(np.sinh(root) / root) if root != 0 else 1.0
    return np.real(np.cosh(root)) * np.eye(2) + ratio * B


def symmetric_exponentials(stack):
    values, vectors = np.linalg.eigh(stack)
    return np.einsum("kil,kl,kjl->kij", vectors, np.exp(values), vectors)


def products(speed, number):
    """By midpoints, by the fourth-order Magnus formula, and of the plain integral, to t = 2."""
    h = 2.0 / number
    M = lambda t: rotating(np.array([t]), speed)[0]
    middle, magnus, total = np.eye(2), np.eye(2), np.zeros((2, 2))
    for k in range(number):
        t, off = (k + 0.5) * h, h * np.sqrt(3) / 6
        a, b = M(t - off), M(t + off)
        middle = exponential(h * M(t)) @ middle
        magnus = exponential(h / 2 * (a + b) + np.sqrt(3) * h**2 / 12 * (b @ a - a @ b)) @ magnus
        total = total + h * M(t)
    return middle, magnus, exponential(total)


# Measurement matrices of the two problems, their targets, and the times of a flow.
STACKS = {
    "commuting": np.array([np.diag([2.0, 1.0, 0.5]), np.diag([0.3, 1.5, 3.0])]),
    "counterexample": np.array(
        [[[2.0, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]]
    ),
}
TARGETS = np.array([4.0, 3.0])
NUM_TIMES = {"tiny": 401, "quick": 4001, "full": 40_001}


def followed(stack, log10_alpha, times):
    """X and the dual along the flow, from dU/dt = -A*(r) U and ds/dt = -r, by SciPy."""

    def velocity(t, state):
        U = state[:9].reshape(3, 3)
        r = flat @ (U @ U.T).ravel() - TARGETS
        return np.concatenate([-((r @ flat).reshape(3, 3) @ U).ravel(), -r])

    flat = stack.reshape(2, 9)
    start = np.concatenate([10 ** (log10_alpha / 2) * np.eye(3).ravel(), np.zeros(2)])
    # U grows from as little as 1e-32: its error is relative to the start.
    atol = np.array([1e-11 * 10 ** (log10_alpha / 2)] * 9 + [1e-12] * 2)
    found = solve_ivp(
        velocity, (0, times[-1]), start, method="LSODA", t_eval=times, rtol=1e-10, atol=atol
    )
    U = found.y[:9].T.reshape(-1, 3, 3)
    return U @ np.swapaxes(U, 1, 2), found.y[9:].T


def check_flow(one, stack, log10_alpha, number):
    """Products, terms of the logarithm, variation and gaps, from the flow as SciPy finds it."""
    top = np.linalg.eigvalsh(np.tensordot(TARGETS, stack, 1))[-1]
    times = np.linspace(0, 3 * (20 - log10_alpha * np.log(10)) / top, number)
    Xs, s = followed(stack, log10_alpha, times)
    r = np.einsum("kij,tij->tk", stack, Xs) - TARGETS
    commutator = stack[0] @ stack[1] - stack[1] @ stack[0]
    forces = np.einsum("tk,kij->tij", s, stack)
    # Twice the triangles with corners at 0, at one time and at the next.
    swept = np.sum(s[:-1, 1] * s[1:, 0] - s[:-1, 0] * s[1:, 1])
    for name, value in {
        "first_term": np.linalg.norm(forces[-1]),
        "second_term": abs(swept) / 2 * np.linalg.norm(commutator),
        "variation": np.sum(np.linalg.norm(np.diff(r, axis=0), axis=1)),
        "variation_of_half": np.sum(np.linalg.norm(np.diff(r[::2], axis=0), axis=1)),
    }.items():
        # The simulator's interpolation between its steps.
        np.testing.assert_allclose(one[f"flow_{name}"], value, rtol=1e-3, err_msg=name)
    products = {"unordered_error": symmetric_exponentials(forces[-1:])[0]}
    for name, k in (("ordered_error", 1), ("ordered_error_of_half", 2)):
        middle = np.diff(times[::k])[:, None] * (r[::k][1:] + r[::k][:-1]) / 2
        product = np.eye(3)
        for factor in symmetric_exponentials(-np.einsum("tk,kij->tij", middle, stack)):
            product = factor @ product
        products[name] = product
    for name, P in products.items():
        U = 10 ** (log10_alpha / 2) * P
        error = np.linalg.norm(U @ U.T - Xs[-1]) / np.linalg.norm(Xs[-1])
        np.testing.assert_allclose(one[f"flow_{name}"], error, rtol=1e-2, atol=1e-4, err_msg=name)
    kept = np.linspace(0, number - 1, one.sizes["share"]).astype(int)[1:]
    tops = np.linalg.eigvalsh(forces[kept])[:, -1]
    inner = np.einsum("tij,tij->t", forces[kept], Xs[kept])
    gaps = 1 - inner / tops / np.trace(Xs[kept], axis1=1, axis2=2)
    np.testing.assert_allclose(one.dual_gap[1:], gaps, rtol=1e-3, atol=1e-5)


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    for speed in ds.speed.values:
        velocity = lambda t, v, w=speed: (rotating(np.array([t]), w)[0] @ v.reshape(2, 2)).ravel()
        found = solve_ivp(velocity, (0, 2), np.eye(2).ravel(), rtol=1e-11, atol=1e-12)
        exact = exact_rotating(2.0, speed)
        np.testing.assert_allclose(found.y[:, -1].reshape(2, 2), exact, atol=1e-8)
        # Exponents +- sqrt(1 - w^2) times a rotation: the trace of e^(t(S - K)) is known.
        turned = exact_rotating(2.0, speed)
        c, s = np.cos(2 * speed), np.sin(2 * speed)
        inner = np.array([[c, s], [-s, c]]) @ turned
        one = ds.sel(speed=speed)
        for k, number in enumerate(ds.factors.values[:3]):
            errors = [
                np.linalg.norm(P - exact) / np.linalg.norm(exact) for P in products(speed, number)
            ]
            names = ("midpoint_error", "magnus_error", "unordered_error")
            # Rounding of a product of a few factors.
            np.testing.assert_allclose([one[name][k] for name in names], errors, atol=1e-13)
        # The matrices are symmetric: in reverse the product is the transpose.
        limit = np.linalg.norm(exact.T - exact) / np.linalg.norm(exact)
        assert abs(float(one.reversed_error[-1]) - limit) <= float(one.midpoint_error[-1]) + 1e-12
        root = np.emath.sqrt(1 - speed**2)
        np.testing.assert_allclose(np.trace(inner), 2 * np.real(np.cosh(2 * root)), rtol=1e-10)
    for name, order in (("midpoint_error", 2), ("magnus_error", 4)):
        halved = ds[name].values[:, 1] / ds[name].values[:, 2]
        np.testing.assert_allclose(np.log2(halved), order, atol=0.4)
    # Relative error 1e-8 is asked of the simulator, whose rounding is not exactly zero.
    assert np.all((ds.steered_error >= 0) & (ds.steered_error < 1e-8))
    assert float(ds.steered_error.max()) > 0
    assert np.all((ds.flow_misfit >= 0) & (ds.flow_misfit < 1e-8))
    other, commuting = ds.sel(problem="counterexample"), ds.sel(problem="commuting")
    # At 1e-32 the flow agrees with its limit to 1e-10; the residual is then what is left.
    np.testing.assert_allclose(other.end_trace[-1], 1.678507352080517, rtol=1e-6)
    # Any dual feasible point is below the minimum, so the gap cannot be smaller than this.
    assert float(other.end_gap[-1]) > 1 - 1.674316024366309 / 1.678507352080517 - 1e-6
    # Without commutators the order of the factors does not matter.
    assert float(commuting.flow_second_term.max()) == 0
    assert float(abs(commuting.flow_unordered_error).max()) < 1e-11
    for name, stack in STACKS.items():
        for value in ds.log10_alpha.values:
            # Of smaller starts U, of rank 1 for long, loses the second direction to rounding.
            if name == "commuting" or value >= -8:
                one = ds.sel(problem=name, log10_alpha=value)
                check_flow(one, stack, float(value), NUM_TIMES[ds.attrs["setting"]])
    # From there on: s is c log(1/alpha) and a constant, and the area it sweeps like that too.
    scale = -ds.log10_alpha.values[-3:]
    for name in ("flow_first_term", "flow_second_term"):
        slopes = np.diff(other[name].values[-3:]) / np.diff(scale)
        np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-2)
    # A path through half of its points is shorter; a dual feasible point proves no less than 0.
    assert np.all(ds.flow_variation_of_half <= ds.flow_variation)
    np.testing.assert_allclose(ds.flow_variation_of_half, ds.flow_variation, rtol=0.02)
    assert np.nanmin(ds.dual_gap) > -1e-12
    np.testing.assert_array_equal(ds.dual_gap[..., -1], ds.end_gap)
    # The variation of r is at least the way from r(0) = alpha A(I) - y to 0; A(I) are traces.
    for name, traces in (("commuting", (3.5, 4.8)), ("counterexample", (4.0, 3.0))):
        start = 10.0 ** ds.log10_alpha.values[:, None] * np.array(traces) - np.array([4.0, 3.0])
        way = np.linalg.norm(start, axis=1)
        assert np.all(ds.flow_variation.sel(problem=name) > (1 - 1e-3) * way)
    assert float(commuting.end_gap[-1]) < float(commuting.end_gap[0])
