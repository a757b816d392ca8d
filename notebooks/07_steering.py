# %% [markdown]
# # Steering
#
# The factor flow is dU/dt = -A*(r)U, and gradient flow is one way to choose r: the residual of a
# loss. What if r(t) could be anything? With two measurement matrices that commute, X stays on a
# surface of dimension two whatever r does, and that is why the limit does not depend on the loss.
# With two that do not, X can be steered to any positive definite matrix. So what selects the limit
# is the steering, not the set that can be reached.

# %%
import os

import jax


jax.config.update("jax_enable_x64", True)  # before the first array is made

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from matplotlib.figure import Figure
from scipy.linalg import expm

import implicit_flow as imf


FAST = os.environ.get("FAST") == "1"
n, frequencies = (2, 4) if FAST else (3, 6)

# %% [markdown]
# ## A steering with parameters
#
# A Fourier polynomial; its coefficients are what gradient descent will move.


# %%
class Steering(eqx.Module):
    """r(t) on [0, 1], for two measurements."""

    coefficients: jax.Array

    def __call__(self, t):
        """The steering at a time."""
        angles = 2 * jnp.pi * jnp.arange(1, frequencies + 1) * t
        waves = jnp.concatenate([jnp.ones(1), jnp.cos(angles), jnp.sin(angles)])
        return waves @ self.coefficients


def end(stack, coefficients):
    """X at t = 1, from X0 = I."""
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), jnp.zeros(2))
    flow = imf.flows.SteeredFlow(Steering(coefficients))
    return imf.simulate(problem, flow, alpha=1.0, t1=1.0, max_steps=1024, throw=False).X


# %% [markdown]
# ## Two pairs of matrices and a target

# %%
generator = np.random.default_rng(1)
G = generator.standard_normal((2, n, n))
random_pair = (G + G.transpose(0, 2, 1)) / 2
random_pair /= np.linalg.norm(random_pair, ord=2, axis=(1, 2))[:, None, None]
commuting_pair = np.stack([np.diag(np.linspace(-1, 1, n)), np.eye(n)])
basis = np.linalg.qr(generator.standard_normal((n, n)))[0]
target = basis @ np.diag(np.exp(np.linspace(-1, 1, n))) @ basis.T


def bracket(A, B):
    """The commutator."""
    return A @ B - B @ A


def lie_dimension(stack):
    """Of the Lie algebra that two matrices generate, from nested commutators."""
    level = known = list(stack)
    for _ in range(6):
        level = [bracket(A, B) for A in level for B in stack]
        level = [M / np.linalg.norm(M) for M in level if np.linalg.norm(M) > 1e-12]
        known = known + level
    return np.linalg.matrix_rank(np.array([M.ravel() for M in known]), tol=1e-9)


dimensions = {"random": lie_dimension(random_pair), "commuting": lie_dimension(commuting_pair)}
print(f"dimension of the Lie algebra: {dimensions}, and n^2 = {n * n}")

# %% [markdown]
# ## Gradient descent through the simulator
#
# The distance J = tr X*^-1 (X - X*) X^-1 (X - X*) sees large and small eigenvalues alike. BFGS gets
# its gradient by differentiating `simulate`.


# %%
@eqx.filter_jit
def search(stack, coefficients):
    """The steering that BFGS ends at, and where it leads."""

    def distance(c, _):
        X = end(stack, c)
        D = X - target
        return jnp.log1p(jnp.trace(jnp.linalg.solve(target, D) @ jnp.linalg.solve(X, D)))

    found = optx.minimise(
        distance, optx.BFGS(rtol=1e-8, atol=1e-16), coefficients, max_steps=400, throw=False
    )
    return found.value, end(stack, found.value)


first = jnp.asarray(0.8 * generator.standard_normal((2 * frequencies + 1, 2)))
steerings, reached = {}, {}
for name, stack in {"random": random_pair, "commuting": commuting_pair}.items():
    steerings[name], X = search(jnp.asarray(stack), first)
    reached[name] = float(np.linalg.norm(X - target) / np.linalg.norm(target))
    print(f"{name:10}: relative distance from the target {reached[name]:.1e}")

# %% [markdown]
# The commuting pair is diagonal, and so is every X that it can reach from I. What the target has
# off the diagonal is missed, whatever r is:

# %%
off_diagonal = target - np.diag(np.diag(target))
bound = np.linalg.norm(off_diagonal) / np.linalg.norm(target)
print(f"no steering of the commuting pair comes closer than {bound:.3f}")

# %% [markdown]
# ## The steering itself

# %%
times = np.linspace(0, 1, 400)
values = np.asarray(jax.vmap(Steering(steerings["random"]))(jnp.asarray(times)))
figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
axes.plot(times, values, label=["r1", "r2"])
axes.set_xlabel("time t")
axes.set_ylabel("steering r(t)")
axes.legend()
figure

# %% [markdown]
# ## The claim of this notebook
#
# The end is computed once more without the simulator, as a product of matrix exponentials: the
# midpoint rule, whose error falls like the square of the step.

# %%
ends = []
for number in (1000, 2000):
    U = np.eye(n)
    for t in (np.arange(number) + 0.5) / number:
        r = np.asarray(Steering(np.asarray(steerings["random"]))(t))
        U = expm(-np.tensordot(r, random_pair, 1) / number) @ U
    ends.append(U @ U.T)
by_products = (4 * ends[1] - ends[0]) / 3
assert np.linalg.norm(by_products - target) < 1e-5 * np.linalg.norm(target)
assert reached["random"] < 1e-6
assert dimensions == {"random": n * n, "commuting": 2}
assert reached["commuting"] > bound > 0.05
