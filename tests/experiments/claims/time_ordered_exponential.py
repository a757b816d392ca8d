"""Orders of products, a propagator by Runge-Kutta, and the known limit of the counterexample."""

import numpy as np
from scipy.integrate import solve_ivp

from implicit_flow.experiments._ordered_products import exact_rotating, rotating


def exponential(B):
    """Of a 2 x 2 matrix without trace, whose square is a multiple of the identity."""
    root = np.emath.sqrt(-np.linalg.det(B))
    ratio = np.real(np.sinh(root) / root) if root != 0 else 1.0
    return np.real(np.cosh(root)) * np.eye(2) + ratio * B


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
        root = np.emath.sqrt(1 - speed**2)
        np.testing.assert_allclose(np.trace(inner), 2 * np.real(np.cosh(2 * root)), rtol=1e-10)
    for name, order in (("midpoint_error", 2), ("magnus_error", 4)):
        halved = ds[name].values[:, 1] / ds[name].values[:, 2]
        np.testing.assert_allclose(np.log2(halved), order, atol=0.4)
    # Relative error 1e-8 is asked of the simulator.
    assert float(ds.steered_error.max()) < 1e-8
    other, commuting = ds.sel(problem="counterexample"), ds.sel(problem="commuting")
    # At 1e-32 the flow agrees with its limit to 1e-10; the residual is then what is left.
    np.testing.assert_allclose(other.end_trace[-1], 1.678507352080517, rtol=1e-6)
    # Any dual feasible point is below the minimum, so the gap cannot be smaller than this.
    assert float(other.end_gap[-1]) > 1 - 1.674316024366309 / 1.678507352080517 - 1e-6
    # Without commutators the order of the factors does not matter.
    assert float(commuting.flow_second_term.max()) == 0
    # The variation of r is at least the way from r(0) = alpha A(I) - y to 0; A(I) are traces.
    for name, traces in (("commuting", (3.5, 4.8)), ("counterexample", (4.0, 3.0))):
        start = 10.0 ** ds.log10_alpha.values[:, None] * np.array(traces) - np.array([4.0, 3.0])
        way = np.linalg.norm(start, axis=1)
        assert np.all(ds.flow_variation.sel(problem=name) > (1 - 1e-3) * way)
    assert float(commuting.end_gap[-1]) < float(commuting.end_gap[0])
