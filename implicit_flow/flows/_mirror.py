"""Mirror flow: the gradient moves the dual of x under a potential."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .. import _checks
from .._types import RealLike, Residual, Scalar, Vector
from ..measurements import DiagonalMeasurement
from ..parametrizations import AbstractParametrization
from ..problems import Problem
from ._base import AbstractFlow, generator, positive_part_of
from .potentials import AbstractPotential


class MirrorFlow(AbstractFlow):
    r"""$\frac{d}{dt}\nabla\psi(x) = -A^\top r$, the flow of x in the geometry of a potential psi.

    The dual point $\theta = \nabla\psi(x)$ never leaves $\theta_0 + \mathrm{range}\,A^\top$, at
    any step size and with any loss. So where targets are met x is the minimizer of the Bregman
    divergence $D_\psi(x, x_0)$ over all x that meet them.

    Potentials with their minimum at 0 (`Quadratic`, `Hypentropy`, `PNorm`) start there, with no
    alpha; `init` is x0 itself (n,). `Entropy`, whose x is positive, starts at x0 = alpha x~, and
    `init` is x~ (n,), ones if None. Minus A'r moves log x, so that `Entropy` takes twice the time
    of `HadamardFlow(2)`, where it moves log u, on the same path.

    Attributes:
        potential: psi, one of `flows.potentials`.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[3.0, 4.0]]))
        >>> flow = imf.flows.MirrorFlow(imf.flows.potentials.Quadratic())
        >>> sol = imf.simulate(imf.Problem(A, jnp.array([10.0])), flow)
        >>> bool(jnp.allclose(sol.x, jnp.array([1.2, 1.6])))
        True

    Reference:
        Gunasekar et al. (2018), Characterizing implicit bias in terms of optimization geometry,
        Theorem 1.
    """

    potential: AbstractPotential

    def __check_init__(self):
        """Refuse what is not a potential."""
        _checks.instance(
            self.potential,
            "potential",
            AbstractPotential,
            "They are in `flows.potentials`: Quadratic, Entropy, Hypentropy, PNorm.",
        )

    @property
    def parametrization(self) -> "Mirror":
        """The dual point, whose discrete steps are those of mirror descent."""
        return Mirror(self.potential)

    @property
    def is_vector(self) -> bool:
        """True."""
        return True

    @property
    def needs_alpha(self) -> bool:
        """As the potential says."""
        return self.potential.needs_alpha

    @property
    def is_semidefinite(self) -> bool:
        """Whether the potential keeps x nonnegative."""
        return self.potential.is_nonnegative

    @property
    def solver(self) -> diffrax.AbstractSolver:
        """An L-stable method: the flow is as stiff as A A' and the potential make it."""
        return diffrax.Kvaerno5()

    def start(self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None) -> Vector:
        r"""$\nabla\psi(x_0)$, in its unit."""
        theta = self.potential.start(init, log_alpha, problem.dim, problem.measurement.dtype)
        return theta / self._unit(problem)

    def velocity(self, state: Vector, r: Residual, problem: Problem) -> Vector:
        r"""$-A^\top r$, in the unit of the state."""
        return -generator(problem, r, vector=True) / self._unit(problem)

    def unknown(self, state: Vector, problem: Problem) -> Vector:
        r"""$\nabla\psi^*(\theta)$."""
        return self.potential.primal(state * self._unit(problem))

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """As the potential says, in the unit of the state."""
        return self.potential.tolerances(rtol)

    def violation(self, state: Vector, r: Residual, problem: Problem) -> Scalar:
        r"""$|A^\top r|$; its most negative entry where x stays positive, and small seeds grow."""
        g = generator(problem, r, vector=True)
        return positive_part_of(-g if self.potential.is_nonnegative else jnp.abs(g))

    def _unit(self, problem: Problem) -> Scalar:
        """The size of theta that makes errors of x relative ones; it cancels out of the path."""
        assert isinstance(problem.measurement, DiagonalMeasurement)  # seen to by `check`
        # |x| is at least |y| / |A|.
        size = jnp.linalg.norm(problem.measurement.matrix)
        size = problem.scale / jnp.where(size > 0, size, 1)
        return jax.lax.stop_gradient(self.potential.unit(size))


class Mirror(AbstractParametrization):
    r"""x through its dual point, $x = \nabla\psi^*(\theta)$, $d\theta/dt = -A^\top r$.

    Steps of size h along this field are mirror descent. They are no gradient steps in theta: the
    gradient with respect to x moves its dual.

    Attributes:
        potential: psi.
    """

    potential: AbstractPotential

    def init(self, dim: int, log_alpha: Scalar, init: ArrayLike | None, dtype: np.dtype) -> Vector:
        r"""$\nabla\psi(x_0)$ with `init` as for `MirrorFlow`."""
        return self.potential.start(init, log_alpha, dim, dtype)

    def unknown(self, theta: Vector) -> Vector:
        r"""$\nabla\psi^*(\theta)$."""
        return self.potential.primal(theta)

    def velocity(self, theta: Vector, generator: Vector) -> Vector:
        r"""$-A^\top r$."""
        return -generator

    def underflows(self, theta: Vector) -> bool:
        """False: a dual point of zero is an ordinary start."""
        return False
