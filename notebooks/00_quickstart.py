# %% [markdown]
# # Quick start
#
# From measurements to a certified answer. Gradient flow on a factorization X = UU' starts at
# X0 = α I and ends at some X that fits the measurements. Many X fit. Which one does it find, and
# is it the one of minimum nuclear norm?
#
# Open this file with Jupytext as a notebook, or run it: `python notebooks/00_quickstart.py`.

# %%
import os

import jax


jax.config.update("jax_enable_x64", True)  # before the first array is made

import jax.numpy as jnp

import implicit_flow as imf


FAST = os.environ.get("FAST") == "1"

# %% [markdown]
# ## A problem
#
# Twenty Gaussian measurements of an 8 × 8 matrix of rank 1. A symmetric 8 × 8 matrix has 36 free
# entries, so the measurements leave 16 of them open.

# %%
problem = imf.problems.gaussian_sensing(dim=8, rank=1, num_measurements=20, key=jax.random.key(3))
problem.dim, problem.num_measurements

# %% [markdown]
# ## One flow
#
# `simulate` integrates dU/dt = -A*(r)U, with r = A(UU') - y, from U0 = √α I until it is at rest.
# The solution says how well it is known: the error estimate is that of X, relative, at this α. The
# path is kept at the times in `saveat`.

# %%
times = jnp.geomspace(0.1, 1000.0, 3 if FAST else 200)
sol = imf.simulate(problem, alpha=1e-4, saveat=times)
print(sol)

# %% [markdown]
# ## What is it?
#
# `certify` bounds the minimum nuclear norm from both sides. The lower bound comes from the flow
# itself: the integral of its residual, scaled, is feasible for the dual problem.

# %%
certificate = imf.certify(problem, sol)
print(certificate)

# %% [markdown]
# At this α the flow ends a percent above the minimum, and that is proved: not minimal. Was α too
# large, or does the flow go elsewhere?
#
# ## α to zero
#
# `limit` walks down a ladder of alphas, far below what an explicit solver can carry, and estimates
# how far the last rung is from the limit.

# %%
lim = imf.limit(problem)
print(lim)

# %% [markdown]
# The limit is certified to be minimal, and it is the planted matrix.
#
# ## Along the way
#
# The path shows what implicit bias looks like in time: one direction escapes from the saddle at
# zero, after a time that grows like log(1/α).

# %%
imf.plotting.path(sol)

# %% [markdown]
# ## The claim of this notebook

# %%
truth = problem.ground_truth
distance = jnp.linalg.norm(lim.X - truth) / jnp.linalg.norm(truth)
print(f"{lim.verdict}; distance to the planted matrix {distance:.1e}")

assert certificate.verdict == "not minimal"
assert 0.01 < certificate.gap < 0.02
assert lim.verdict == "minimal"
assert distance < 1e-4
# Along a gradient flow the residual never grows.
assert jnp.all(jnp.diff(jnp.linalg.norm(sol.residuals, axis=1)) < 1e-9)
