"""What a flow found: it carries its error, its outcome and its dual, and prints itself."""

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from . import _checks
from ._results import RESULTS, is_answer, name_of
from ._types import Residual, Scalar


if TYPE_CHECKING:
    import xarray


class Solution(eqx.Module):
    r"""The end of a flow, and the path to it where `saveat` asked for one.

    Attributes:
        X: the unknown at the end, shape (n, n).
        residual: $r = \partial\,\mathrm{loss}/\partial A(X)$ at the end, shape (m,).
        residual_norm: $\|A(X) - y\| / \|y\|$; absolute where y = 0.
        dual: $s = -\int r\,dt$, shape (m,): the natural candidate for a certificate.
        x: the unknown of a vector flow, shape (n,), so that X = diag(x); else None.
        time: when the flow ended, in the time of $dU/dt = -A^*(r) U$.
        log10_alpha: the scale of X0, to base 10; nan for flows that start from zero.
        ts: times along `saveat`, shape (k,), or None.
        Xs: unknowns at `ts`, shape (k, n, n), or None.
        residuals: at `ts`, shape (k, m), or None.
        duals: at `ts`, shape (k, m), or None.
        log_eigenvalues: natural logarithms of the eigenvalues of X, increasing, where the solver
            knows them below the range of floats; else None.
        error_estimate: of X at this alpha (or at `t1`): relative, Frobenius. It is meant never to
            understate. nan where nothing is estimated (`descend`).
        error_estimates: of `Xs`, each relative to its own norm, shape (k,), or None. `rtol` is kept
            at the end; along the way, where X moves fast, it may be missed, and these say by how
            much.
        result: how it ended, an item of `RESULTS`.
        stats: counts: `num_steps`, `num_accepted_steps`, ...
        flow: name of the flow.
        solver: name of the solver.
        notes: what a reader of the numbers should know.
        semidefinite: whether X is positive semidefinite by construction.
        block: (p, q) where X embeds a rectangular W, else None.
    """

    X: Float[Array, "n n"]
    residual: Residual
    residual_norm: Scalar
    dual: Residual
    x: Float[Array, " n"] | None
    time: Scalar
    log10_alpha: Scalar
    ts: Float[Array, " k"] | None
    Xs: Float[Array, "k n n"] | None
    residuals: Float[Array, "k m"] | None
    duals: Float[Array, "k m"] | None
    log_eigenvalues: Float[Array, " n"] | None
    error_estimate: Scalar
    error_estimates: Float[Array, " k"] | None
    result: RESULTS
    stats: dict[str, Array]
    flow: str = eqx.field(static=True)
    solver: str = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True, default=())
    semidefinite: bool = eqx.field(static=True, default=True)
    block: tuple[int, int] | None = eqx.field(static=True, default=None)

    @property
    def nuclear_norm(self) -> Scalar:
        """The sum of the singular values of X; its trace where X is semidefinite."""
        if self.semidefinite:
            return jnp.trace(self.X)
        if self.x is not None:
            return jnp.sum(jnp.abs(self.x))
        return jnp.sum(jnp.linalg.svd(self.X, compute_uv=False))

    def rank(self, tol: float = 1e-6) -> Array:
        """The number of singular values above `tol` times the largest.

        Args:
            tol: relative threshold.

        Returns:
            The numerical rank, an integer.
        """
        sizes = jnp.linalg.svd(self.X, compute_uv=False)
        return jnp.sum(sizes > tol * jnp.max(sizes))

    @property
    def W(self) -> Float[Array, "p q"]:
        """The rectangular matrix that X embeds, shape (p, q).

        Raises:
            AttributeError: if X embeds none.
        """
        if self.block is None:
            raise AttributeError(
                "This solution embeds no rectangular matrix: its problem was not made by "
                "`measurements.rectangular_entries` or `problems.rectangular_completion`."
            )
        return self.X[: self.block[0], self.block[0] :]

    @property
    def W_nuclear_norm(self) -> Scalar:
        """The sum of the singular values of `W`.

        Raises:
            AttributeError: if X embeds no rectangular matrix.
        """
        return jnp.sum(jnp.linalg.svd(self.W, compute_uv=False))

    def raise_if_failed(self) -> "Solution":
        """Raise if the result is a failure; return the solution otherwise.

        Under `jit` the check is made when the program runs.

        Returns:
            The solution.

        Raises:
            RuntimeError: (Equinox's) with the message of the result.
        """
        answer = is_answer(self.result)
        known = _checks.concrete(answer)
        if known is not None and np.all(known):
            return self
        return self.result.error_if(self, ~answer)

    def to_xarray(self) -> "xarray.Dataset":
        """The solution as a labelled dataset.

        Returns:
            Variables X, residual, dual and, where saved, Xs, residuals and duals over `time`;
            scalars as variables; what was asked and how it ended as attributes.

        Raises:
            ImportError: without the extra `store`.
        """
        import xarray

        variables: dict[str, Any] = {
            "X": (("row", "col"), np.asarray(self.X)),
            "residual": (("measurement",), np.asarray(self.residual)),
            "dual": (("measurement",), np.asarray(self.dual)),
        }
        for name in ("residual_norm", "time", "log10_alpha", "error_estimate", "nuclear_norm"):
            variables["final_time" if name == "time" else name] = float(getattr(self, name))
        if self.x is not None:
            variables["x"] = (("row",), np.asarray(self.x))
        if self.log_eigenvalues is not None:
            variables["log_eigenvalues"] = (("eigenvalue",), np.asarray(self.log_eigenvalues))
        coordinates = {}
        if self.ts is not None:
            coordinates["time"] = (
                "time",
                np.asarray(self.ts),
                {"units": "time of dU/dt = -A*(r)U"},
            )
            for name, axes in (
                ("Xs", ("time", "row", "col")),
                ("residuals", ("time", "measurement")),
                ("duals", ("time", "measurement")),
                ("error_estimates", ("time",)),
            ):
                # Files of earlier versions have no `error_estimates`.
                if (value := getattr(self, name)) is not None:
                    variables[name] = (axes, np.asarray(value))
        attributes = {
            "flow": self.flow,
            "solver": self.solver,
            "notes": "\n".join(self.notes),
            "result": RESULTS[self.result] or "successful",
        }
        attributes |= {name: int(value) for name, value in self.stats.items()}
        return xarray.Dataset(variables, coordinates, attributes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the solution to one file, whole or not at all. It holds no pickle.

        Args:
            path: of the file; `.npz` is appended if it has no suffix.

        Raises:
            OSError: if the file cannot be written; an older file is then left as it was.
        """
        path = _with_suffix(path)
        arrays = {
            name: np.asarray(value)
            for name in _ARRAYS
            if (value := getattr(self, name)) is not None
        }
        arrays |= {f"stats.{name}": np.asarray(count) for name, count in self.stats.items()}
        facts = {name: getattr(self, name) for name in _FACTS}
        header = {"format": _FORMAT, "result": name_of(self.result), **facts}
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Solution":
        """Read a solution that `save` wrote.

        Args:
            path: of the file.

        Returns:
            The solution.

        Raises:
            ValueError: if the file is not a saved solution.
        """
        path = _with_suffix(path)
        try:
            with np.load(path, allow_pickle=False) as archive:
                header = json.loads(str(archive["header"]))
                if header.pop("format") != _FORMAT:
                    raise KeyError("format")
                held = {name: archive[name] for name in archive.files if name != "header"}
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            _checks.refuse(
                "path", "name a file written by `Solution.save`", f"{path} is not ({error})"
            )
        if (
            any(array.dtype == np.float64 for array in held.values())
            and jnp.result_type(float) != np.float64
        ):
            _checks.needs_float64(f"{path}, which holds float64 numbers,")
        stats = {
            name.removeprefix("stats."): jnp.asarray(held.pop(name))
            for name in list(held)
            if name.startswith("stats.")
        }
        block = header.pop("block")
        return cls(
            **{name: jnp.asarray(held[name]) if name in held else None for name in _ARRAYS},
            result=getattr(RESULTS, header.pop("result")),
            stats=stats,
            notes=tuple(header.pop("notes")),
            block=None if block is None else (block[0], block[1]),
            **header,
        )

    def __str__(self) -> str:
        """A short account, one fact a line."""
        if isinstance(self.X, Tracer) or self.X.ndim != 2:
            return eqx.tree_pformat(self)
        lines = [
            f"{self.flow} by {self.solver}, n = {self.X.shape[0]}, m = {self.residual.shape[0]}",
            f"  log10(alpha)     {float(self.log10_alpha):.6g}",
            f"  result           {RESULTS[self.result] or 'targets met and X at rest, or t1'}",
            f"  nuclear norm     {float(self.nuclear_norm):.10g}",
            f"  rank             {int(self.rank())} (above 1e-6 of the largest singular value)",
            f"  residual         {float(self.residual_norm):.2e} relative to the targets",
            f"  error estimate   {float(self.error_estimate):.1e} relative, of X at this alpha",
            f"  steps            {int(self.stats['num_accepted_steps'])} accepted, "
            f"to time {float(self.time):.4g}",
        ]
        return "\n".join(lines + [f"  note             {note}" for note in self.notes])


_FORMAT = "implicit_flow.Solution/1"
_FACTS = ("flow", "solver", "notes", "semidefinite", "block")
_ARRAYS = (
    "X",
    "residual",
    "residual_norm",
    "dual",
    "x",
    "time",
    "log10_alpha",
    "ts",
    "Xs",
    "residuals",
    "duals",
    "log_eigenvalues",
    "error_estimate",
    "error_estimates",
)


def _with_suffix(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path if path.suffix else path.with_suffix(".npz")
