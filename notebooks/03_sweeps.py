# %% [markdown]
# # A phase diagram in one call
#
# Gradient flow on a factorization, started at scale $\alpha$, ends at a point that fits the
# measurements. How far is its nuclear norm above the smallest possible one, for which $\alpha$ and
# for how many measurements $m$?
#
# One cell of the answer is a function of named axes that JAX can trace. `imf.sweep` runs it on the
# grid, on every core or device, and returns a labeled Dataset.

# %%
import os

import jax


jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import xarray as xr

import implicit_flow as imf
from implicit_flow import sweeps


FAST = os.environ.get("FAST") == "1"

# %% [markdown]
# ## One cell
#
# The number of measurements could be a *static* axis: it would reach the function as a Python
# integer, with one compilation for each value. Here it is a traced one instead: the measurements
# beyond the first $m$ are replaced by $0 = 0$, which any $X$ meets and which moves nothing. So one
# compilation serves the whole diagram.

# %%
DIM, MOST = 6, 24


def problem_of(m, seed):
    """The first m of the measurements of a planted rank-one matrix."""
    full = imf.problems.gaussian_sensing(DIM, 1, MOST, key=jax.random.key(seed))
    kept = (jnp.arange(MOST) < m).astype(float)
    stack = kept[:, None, None] * full.measurement.as_stack()
    return imf.Problem(imf.measurements.DenseMeasurement(stack), kept * full.targets)


def cell(log10_alpha, m, seed):
    solution = imf.simulate(problem_of(m, seed), log10_alpha=log10_alpha, throw=False)
    return {
        "nuclear_norm": solution.nuclear_norm,
        "residual_norm": solution.residual_norm,
        "error_estimate": solution.error_estimate,
        "result": solution.result,
    }


# %% [markdown]
# ## The grid
#
# `Axis` adds a unit and a description; a plain list would do. With `store="runs/diagram.zarr"` the
# sweep could be interrupted at any moment, and the same call would take it up.

# %%
log10_alphas = [-2, -6, -12] if FAST else [-1, -2, -3, -4, -6, -8, -12]
counts = [6, 12, 24] if FAST else [3, 6, 9, 12, 15, 18, 21, 24]
axes = {
    "log10_alpha": sweeps.Axis(log10_alphas, description=r"$\log_{10}\alpha$, scale of X0"),
    "m": sweeps.Axis(counts, description=f"measurements m, where n = {DIM}"),
    "seed": range(2 if FAST else 4),
}
ds = imf.sweep(cell, axes)
ds

# %% [markdown]
# Failure is data: every cell says how it ended, and nothing was thrown.

# %%
texts, numbers = np.unique(sweeps.messages(ds), return_counts=True)
dict(zip(texts.tolist(), numbers.tolist(), strict=True))

# %% [markdown]
# ## The smallest nuclear norm
#
# The convex solver is a host function: a loop of plain Python, once for each problem and not for
# each $\alpha$. The labels take care of the rest.

# %%
minimum = xr.DataArray(
    [[imf.convex.min_nuclear_norm(problem_of(m, seed)).value for seed in ds.seed.values]
     for m in ds.m.values],
    coords={"m": ds.m, "seed": ds.seed},
)  # fmt: skip
gap = ds.nuclear_norm / minimum - 1
# Below the accuracy that was asked of X a gap is no longer a number.
ds["gap"] = gap.clip(min=1e-6).assign_attrs(
    description="nuclear norm above the minimum, relative (1e-6 stands for less)"
)
gap.median("seed").to_pandas()

# %% [markdown]
# ## The picture
#
# Medians over the seeds; a cross marks places where a cell failed.

# %%
sweeps.heat_map(ds, "gap", x="log10_alpha", y="m")

# %%
sweeps.curves(ds, "gap", along="log10_alpha", by="m")

# %% [markdown]
# ## What it shows
#
# * With $m \ge n(n+1)/2 = 21$ measurements one point fits, and every $\alpha$ finds it. One fits
#   with somewhat fewer already, because $X \succeq 0$.
# * With fewer still, a smaller $\alpha$ is better at first: the gap falls from $10^{-2}$ to
#   $10^{-6}$.
# * But with very few it falls to a percent or so and stays there, down to $\alpha = 10^{-12}$ and
#   far above the estimated error of each cell: in these problems the limit is *not* the solution
#   of minimum nuclear norm. `imf.limit` and `imf.certify` prove it for one problem.

# %%
answers = gap.where(~sweeps.failed(ds))
# No point that fits is below the minimum; both sides are accurate to about 1e-6.
assert float(answers.min()) > -1e-5
assert float(ds["residual_norm"].where(~sweeps.failed(ds)).max()) < 1e-6
assert float(abs(answers.sel(m=[m for m in counts if m >= 21])).max()) < 1e-5
few = answers.sel(m=[m for m in counts if m <= 12]).median(["m", "seed"])
assert float(few.sel(log10_alpha=-6)) < 0.5 * float(few.sel(log10_alpha=-2))
end = ds.sel(m=6, log10_alpha=-12)
assert float(end["gap"].median()) > 1e-3 > 100 * float(end["error_estimate"].max())
