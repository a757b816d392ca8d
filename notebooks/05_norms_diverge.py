# %% [markdown]
# # Every norm goes to infinity
#
# "Gradient descent finds the solution of least norm" cannot be the whole story. Three entries of a
# 2 × 2 matrix are observed, X12 = X21 = 1 and X22 = 0. There are matrices that fit, but no positive
# semidefinite one: X11 · 0 − 1 < 0. The flow of the factorization stays positive definite, drives
# the loss to zero all the same, and can do so in one way only: X11 → ∞.

# %%
import os

import jax


jax.config.update("jax_enable_x64", True)  # before the first array is made

import numpy as np

import implicit_flow as imf


FAST = os.environ.get("FAST") == "1"

ds = imf.experiments.norms_diverge.run(setting="tiny" if FAST else "quick")
print(ds.attrs["outcome"], "-", ds.attrs["outcome_text"])

# %% [markdown]
# ## The law
#
# With X11 = a large, X22 ≈ 1/a and X12 ≈ 1 − 1/a², and da/dt ≈ 2/a²: a³ = 6t. From α = 1e-2:

# %%
one = ds.sel(log10_alpha=-2)
print("       t           X11     (6t)^(1/3)        loss   log10 det X")
for time in one.time.values:
    here = one.sel(time=time)
    print(
        f"{time:8.0e}  {float(here.X11):12.6f}  {float(here.law):13.6f}  {float(here.loss):10.1e}"
        f"  {float(here.log10_det):12.1f}"
    )

# %% [markdown]
# The determinant falls below everything that floats hold, and is never zero: it is known from
# log det X = log det X0 − 2 ∫ tr A*(r) dt, and the integrator keeps it.
#
# ## What a general-purpose integrator does
#
# The same flow with two factors, W = UV' from U = V: exactly the same path. SciPy's LSODA, with a
# relative tolerance of 1e-8, knows nothing of a determinant of 1e-100. Rounding and truncation
# carry det W through zero, and beyond it there are solutions: W22 = 0, W12 = W21 = 1, det W = -1,
# with any W11. The integration comes to rest at one of them, with loss zero and a finite norm.

# %%
print("       t   W11 naive       X11   det W naive")
for time in one.time.values:
    here = one.sel(time=time)
    print(
        f"{time:8.0e}  {float(here.naive_X11):10.3f} {float(here.X11):9.3f}  "
        f"{float(here.naive_det):12.2g}"
    )
imf.experiments.norms_diverge.plot(ds)

# %% [markdown]
# ## The claim of this notebook

# %%
late = ds.isel(time=-1)
assert ds.attrs["outcome"] == "holds"
assert np.all(abs(late.X11 / late.law - 1) < 0.02)
assert np.all(np.diff(ds.nuclear_norm.sel(time=slice(10, None)), axis=1) > 0)
assert np.all(np.isfinite(ds.log10_det))
for time, value in ((1e2, 7.85455291), (1e3, 17.90018161)):
    assert abs(float(one.X11.sel(time=time, method="nearest")) - value) < 1e-6
