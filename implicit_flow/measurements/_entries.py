"""Entries of a matrix: completion, symmetric or (embedded) rectangular."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import _checks
from .._types import PRECISION, Matrix, Residual
from ._base import AbstractMeasurement


# Up to so many entries of X for each measured one, its dense form is the faster one to work with:
# a product of matrices against gathers and scatters of rows. Measured on a CPU, at 20 columns.
_DENSE = 50


class EntryMeasurement(AbstractMeasurement):
    r"""Measures the entries $X_{ij}$: $A_k = (E_{ij} + E_{ji})/2$, never formed.

    Both (i, j) and (j, i) may be given; they are two measurements of one number, and count twice.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.EntryMeasurement(rows=[0, 1], cols=[1, 1], dim=2)
        >>> A.apply(jnp.array([[1.0, 2.0], [2.0, 5.0]])).tolist()
        [2.0, 5.0]
    """

    rows: Int[Array, " m"]
    cols: Int[Array, " m"]
    dim_: int = eqx.field(static=True)
    block: tuple[int, int] | None = eqx.field(static=True)
    dtype_: np.dtype = eqx.field(static=True)

    def __init__(
        self,
        rows: _checks.RealArrayLike,
        cols: _checks.RealArrayLike,
        dim: int,
        *,
        block: tuple[int, int] | None = None,
        dtype: np.dtype | type | None = None,
    ):
        """Check and store the indices.

        Args:
            rows: row indices, shape (m,), 0-based.
            cols: column indices, shape (m,), 0-based.
            dim: n.
            block: the shape of W if X embeds a rectangular W; see `rectangular_entries`.
            dtype: floating-point type to work in; JAX's default if None.

        Raises:
            ValueError: indices that are not integers, out of range, or repeated; m = 0; a block
                whose sides do not add up to dim.
        """
        _checks.at_least(dim, "dim", 1)
        if dim > _checks.LARGEST_INDEX:
            _checks.refuse("dim", f"be at most {_checks.LARGEST_INDEX}", f"is {dim}")
        if block is not None and (len(block) != 2 or sum(block) != dim or min(block) < 1):
            _checks.refuse("block", f"be a pair (p, q) with p + q = dim = {dim}", f"is {block}")
        rows, cols = _indices(rows, "rows", dim), _indices(cols, "cols", dim)
        if rows.shape != cols.shape:
            _checks.refuse("cols", f"have the shape of `rows`, {rows.shape}", f"has {cols.shape}")
        _once(rows, cols, dim)
        kind = np.dtype(jax.dtypes.canonicalize_dtype(float if dtype is None else dtype))
        _checks.floating(kind, "dtype")
        self.rows, self.cols, self.dim_, self.block = rows, cols, int(dim), block
        self.dtype_ = kind

    @property
    def dim(self) -> int:
        """The number of rows of X."""
        return self.dim_

    @property
    def num_measurements(self) -> int:
        """The number of measured entries."""
        return self.rows.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """The type given at construction."""
        return jnp.dtype(self.dtype_)

    def apply(self, X: Matrix) -> Residual:
        r"""$(X_{ij} + X_{ji})/2$ at the measured entries."""
        _checks.shape(X, "X", (self.dim, self.dim))
        return (X[self.rows, self.cols] + X[self.cols, self.rows]) / 2

    def adjoint(self, r: Residual) -> Matrix:
        """The symmetric matrix with `r` (halved off the diagonal) at the measured entries."""
        _checks.shape(r, "r", (self.num_measurements,))
        # One scatter of both triangles: the transpose of a scatter costs ten times as much.
        there = self.rows * self.dim + self.cols
        back = self.cols * self.dim + self.rows
        flat = jnp.zeros((self.dim**2,), r.dtype)
        flat = flat.at[jnp.concatenate([there, back])].add(jnp.concatenate([r, r]) / 2)
        return flat.reshape(self.dim, self.dim)

    def adjoint_times(self, r: Residual, V: Float[Array, "n d"]) -> Float[Array, "n d"]:
        r"""$A^*(r) V$, in O(m d) if few entries are measured."""
        _checks.shape(r, "r", (self.num_measurements,))
        _checks.shape(V, "V", (self.dim, "d"))
        if self._is_dense:
            return jnp.dot(self.adjoint(r), V, precision=PRECISION)
        half = (r / 2)[:, None]
        product = jnp.zeros_like(V).at[self.rows].add(half * V[self.cols])
        return product.at[self.cols].add(half * V[self.rows])

    @property
    def _is_dense(self) -> bool:
        return self.dim**2 <= min(_DENSE * self.num_measurements, _checks.LARGEST_INDEX)

    def apply_product(self, U: Float[Array, "n d"], V: Float[Array, "n d"]) -> Residual:
        r"""The measured entries of the symmetric part of $U V^\top$, in O(m d) if they are few."""
        # Indexing clamps, so that factors with too few rows would give numbers.
        _checks.shape(U, "U", (self.dim, "d"))
        _checks.shape(V, "V", U.shape)
        if self._is_dense:
            product = jnp.dot(U, V.T, precision=PRECISION)
            there = product[self.rows, self.cols]
            return there if U is V else (there + product[self.cols, self.rows]) / 2
        there = jnp.sum(U[self.rows] * V[self.cols], axis=1)
        return there if U is V else (there + jnp.sum(U[self.cols] * V[self.rows], axis=1)) / 2

    def gram(self, W: Float[Array, "n d"], V: Float[Array, "n d"]) -> Float[Array, "m m"]:
        r"""The matrix $\langle A_i W, A_j V\rangle$, from $W V^\top$ alone."""
        _checks.shape(W, "W", (self.dim, "d"))
        _checks.shape(V, "V", W.shape)
        product = jnp.dot(W, V.T, precision=PRECISION)
        i, j = self.rows, self.cols

        def meet(a: Array, b: Array, c: Array, d: Array) -> Array:
            # <e_a w_b', e_c v_d'> = [a = c] (W V')_{b d}
            return jnp.where(a[:, None] == c[None, :], product[b[:, None], d[None, :]], 0)

        return (meet(i, j, i, j) + meet(i, j, j, i) + meet(j, i, i, j) + meet(j, i, j, i)) / 4


def rectangular_entries(
    rows: _checks.RealArrayLike,
    cols: _checks.RealArrayLike,
    shape: tuple[int, int],
    *,
    dtype: np.dtype | type | None = None,
) -> EntryMeasurement:
    r"""Entries of a rectangular W = U V', as entries of one positive semidefinite matrix.

    X = [[UU', UV'], [VU', VV']] has W as its off-diagonal block, and the least trace of such an X
    is twice the nuclear norm of W. Targets are the entries $W_{ij}$ themselves.

    Args:
        rows: row indices into W, shape (m,), 0-based.
        cols: column indices into W, shape (m,), 0-based.
        shape: (p, q), the shape of W.
        dtype: floating-point type to work in; JAX's default if None.

    Returns:
        The measurement of X of dimension p + q. A `Solution` of it has `.W` and
        `.W_nuclear_norm`.

    Raises:
        ValueError: indices out of range or repeated.

    Example:
        >>> import implicit_flow as imf
        >>> imf.measurements.rectangular_entries([0, 1], [2, 0], shape=(2, 3)).dim
        5

    Reference:
        Fazel, Hindi and Boyd (2001), A rank minimization heuristic, Lemma 1.
    """
    p, q = _checks.sides(shape, "shape")
    rows, cols = _indices(rows, "rows", p), _indices(cols, "cols", q)
    return EntryMeasurement(rows, cols + p, p + q, block=(p, q), dtype=dtype)


def _indices(value: _checks.RealArrayLike, name: str, bound: int) -> Int[Array, " m"]:
    value = _checks.numeric(value, name)
    if value.shape == (0,):
        _checks.refuse(name, "name at least one entry", "is empty")
    if not jnp.issubdtype(value.dtype, jnp.integer):
        _checks.refuse(name, "hold integers", f"has dtype {value.dtype}")
    _checks.shape(value, name, ("m",))
    known = _checks.concrete(value)
    if known is not None and (known.min() < 0 or known.max() >= bound):
        at = int(np.flatnonzero((known < 0) | (known >= bound))[0])
        _checks.refuse(
            name,
            f"lie in 0..{bound - 1}",
            f"{name}[{at}] is {known[at]}",
            "Indices are 0-based." if known.max() == bound else "",
        )
    return jnp.asarray(value.astype(jnp.int32))


def _once(rows: Int[Array, " m"], cols: Int[Array, " m"], dim: int) -> None:
    known_rows, known_cols = _checks.concrete(rows), _checks.concrete(cols)
    if known_rows is None or known_cols is None:
        return
    flat = known_rows.astype(np.int64) * dim + known_cols
    order = np.argsort(flat, kind="stable")
    repeats = np.flatnonzero(np.diff(flat[order]) == 0)
    if repeats.size:
        first, second = sorted(int(order[repeats[0] + k]) for k in (0, 1))
        entry = (int(known_rows[first]), int(known_cols[first]))
        _checks.refuse(
            "rows",
            "name each entry (i, j) once, together with `cols`",
            f"{entry} stands at positions {first} and {second}",
            "Drop or average the repeats.",
        )
