"""Upper bounds on the minimum: matrices that are shown to exist, and to fit exactly."""

import dataclasses

import numpy as np

from ._coordinates import EPS, AbstractCone


@dataclasses.dataclass(frozen=True)
class UpperBound:
    r"""A proof that some $X \ge 0$ with $A(X) = y'$ has a trace of at most `value`.

    Attributes:
        value: the bound; infinite where nothing was proved.
        moved: $\|y' - y\|/\|y\|$: 0 where the measurement matrices are independent, at rounding
            level where some depend on others.
    """

    value: float
    moved: float

    @property
    def holds(self) -> bool:
        """Whether anything was proved."""
        return bool(np.isfinite(self.value))


NOTHING = UpperBound(float("inf"), 0.0)


class Fitter:
    """Moves points onto A(X) = y, with a bound on the distance that rounding leaves."""

    def __init__(self, cone: AbstractCone):
        """Decompose the measurement once.

        Args:
            cone: measurement matrices in coordinates.
        """
        self.cone = cone
        # Powers of two: the scaled rows are the rows exactly.
        power = np.where(cone.norms > 0, np.where(cone.norms > 0, cone.norms, 1), 1)
        self.size = np.exp2(np.round(np.log2(power)))
        self.rows = cone.rows.toarray() / self.size[:, None]
        left, values, right = np.linalg.svd(self.rows, full_matrices=False)
        rounding = max(self.rows.shape) * EPS * (values[0] if len(values) else 0.0)
        rank = int(np.sum(values > 100 * rounding))
        self.left, self.values, self.right = left[:, :rank], values[:rank], right[:rank]
        self.smallest = float(values[rank - 1] - rounding) if rank else 0.0
        self.is_independent = rank == len(self.size)

    def project(self, z: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The nearest point to z with A(X) = y, to rounding."""
        y = targets / self.size
        for _ in range(2):
            z = z + self.right.T @ ((self.left.T @ (y - self.rows @ z)) / self.values)
        return z

    def outside(self, targets: np.ndarray) -> float:
        """The relative size of the part of y that no X measures, positive or not."""
        y = targets / self.size
        size = np.linalg.norm(y)
        return float(np.linalg.norm(y - self.left @ (self.left.T @ y)) / (size if size > 0 else 1))

    def prove(
        self,
        best: np.ndarray,
        interior: np.ndarray,
        targets: np.ndarray,
        uncertainty: np.ndarray,
    ) -> UpperBound:
        r"""Bound the minimum from above by a point between two others.

        The point is brought onto A(X) = y in floats. What residual rho is left, rounding included,
        an exact correction of Frobenius norm at most $\rho/\sigma_{\min}(A)$ removes; where the
        smallest eigenvalue of the point exceeds that, the corrected matrix is positive
        semidefinite, fits exactly, and its trace is larger by at most
        $\sqrt n\,\rho/\sigma_{\min}$. The share of the interior point is the least that suffices.

        Args:
            best: nearly optimal and nearly feasible, in coordinates.
            interior: positive definite and nearly feasible.
            targets: y, shape (m,).
            uncertainty: a bound of the rounding in y itself, shape (m,).

        Returns:
            The bound, or one with an infinite value where no share suffices.
        """
        outside = 0.0 if self.is_independent else self.outside(targets)
        if self.smallest <= 0 or outside > 1e-12:
            return NOTHING
        cone, y = self.cone, targets / self.size
        n = cone.dim
        for share in [0.0, *np.logspace(-15, 0, 31)]:
            z = self.project((1 - share) * best + share * interior, targets)
            error = self.cone.apply_error(z) / self.size + uncertainty / self.size
            left = np.linalg.norm(self.left.T @ (y - self.rows @ z))
            distance = float(left + 2 * np.linalg.norm(error)) / self.smallest
            size = float(np.linalg.norm(z))
            rounding = (4 * (n + 4) * EPS + cone.defect) * size
            if cone.spectrum(z)[0] >= distance + rounding:
                value = cone.trace(z) + np.sqrt(n) * distance + n * rounding
                return UpperBound(float(value), outside)
        return NOTHING
