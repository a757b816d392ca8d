"""How many equations basis pursuit needs: the size of a descent cone."""

import math
from typing import Any


def statistical_dimension(sparsity: float) -> float:
    r"""Of the descent cone of the l1 norm at a vector with a share of nonzero entries, over n.

    $\inf_{\tau\ge0}\rho(1 + \tau^2) + (1 - \rho)\,E(|g| - \tau)_+^2$.

    Args:
        sparsity: rho = k / n.

    Returns:
        The number m / n at which basis pursuit goes from failure to success, for large n.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import ndtr

    def size(tau: float) -> float:
        density = math.exp(-(tau**2) / 2) / math.sqrt(2 * math.pi)
        tail = 2 * ((1 + tau**2) * ndtr(-tau) - tau * density)
        return float(sparsity * (1 + tau**2) + (1 - sparsity) * tail)

    found: Any = minimize_scalar(size, bounds=(0, 10), method="bounded")
    return float(found.fun)
