"""The factor flow by SciPy's Radau, written out again: what the engine is held to."""

import numpy as np
from scipy.integrate import solve_ivp


def scipy_end(stack, targets, log10_alpha, *, end, init=None, rtol=1e-10):
    """X at a time, from sqrt(alpha) init; for alpha at which floats hold U0 beside U."""
    m, n = len(targets), stack.shape[1]
    flat = stack.reshape(m, -1)
    init = np.eye(n) if init is None else init
    d = init.shape[1]
    size = 10.0 ** (log10_alpha / 2)

    def field(t, u):
        U = u.reshape(n, d)
        r = flat @ (U @ U.T).ravel() - targets
        return -((r @ flat).reshape(n, n) @ U).ravel()

    def jacobian(t, u):
        U = u.reshape(n, d)
        r = flat @ (U @ U.T).ravel() - targets
        AU = (stack @ U).reshape(m, -1)
        return -np.kron((r @ flat).reshape(n, n), np.eye(d)) - 2 * AU.T @ AU

    sol = solve_ivp(
        field,
        (0.0, end),
        size * init.ravel(),
        "Radau",
        jac=jacobian,
        rtol=rtol,
        atol=0.1 * rtol * size,
    )
    assert sol.success, sol.message
    U = sol.y[:, -1].reshape(n, d)
    return U @ U.T
