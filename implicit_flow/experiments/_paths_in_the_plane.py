"""Two unknowns and one equation: where methods go, in a picture."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from .._descend import descend
from ..flows import MirrorFlow
from ..flows.potentials import Quadratic
from ..measurements import DiagonalMeasurement
from ..problems import Problem
from ._steepest import steepest_descent


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


# The methods that are shown.
PLANE = ("gradient descent", "coordinate descent", "Adam")
_ROW, _TARGET, _PATH = ((2.0, 1.0),), (1.0,), 300


def paths_in_the_plane() -> Float[np.ndarray, "3 k 2"]:
    """Paths from 0 to the line of solutions.

    Returns:
        One for each method of `PLANE`.
    """
    step = 0.02
    optimizers = (optax.sgd(step), steepest_descent("l1", step), optax.adam(0.005))
    options = {"num_steps": _PATH, "saveat": np.arange(_PATH + 1)}

    @jax.jit
    def paths(A: Any, y: Any) -> list[Any]:
        problem, flow = Problem(DiagonalMeasurement(A), y), MirrorFlow(Quadratic())
        return [descend(problem, flow, optimizer, **options).Xs for optimizer in optimizers]

    return np.stack(
        [np.diagonal(X, axis1=1, axis2=2) for X in paths(jnp.array(_ROW), jnp.array(_TARGET))]
    )


def draw_paths(axis: "Axes", ds: "xarray.Dataset") -> None:
    """Draws them, with the solutions and the row space.

    Args:
        axis: to draw on.
        ds: with `path` over the method, the step and the unknown.
    """
    from ..plotting._style import BLACK, COLORS, GRAY

    x1 = np.linspace(-0.05, 0.9, 2)
    axis.plot(x1, _TARGET[0] - _ROW[0][0] * x1, color=GRAY, label=r"solutions, $Ax = y$")
    row = np.linspace(0, 0.6, 2)
    axis.plot(row, row / 2, ":", color=BLACK, label="row space of $A$")
    for name, color in zip(PLANE, COLORS, strict=False):
        path = ds.path.sel(plane_algorithm=name).values
        axis.plot(*path.T, color=color)
        axis.plot(*path[-1], "o", color=color, label=name)
    axis.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-0.05, 0.9), ylim=(-0.05, 0.62))
    axis.set_aspect("equal")
    axis.legend(loc="upper right")
    axis.set_title("two unknowns, one equation")
