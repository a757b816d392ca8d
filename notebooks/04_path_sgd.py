# %% [markdown]
# # The same function, two networks
#
# Multiply all weights into a hidden ReLU unit by $c$ and divide all weights out of it by $c$: the
# network computes what it computed before. To SGD the two networks are different starts, and one of
# them may be hopeless. To Path-SGD they are the same start.
#
# Path-SGD divides the gradient of every weight by
# $\kappa_e = \partial \phi_2^2 / \partial (w_e^2)$, where $\phi_2^2$ is the sum over all paths from
# an input to an output of the product of the squared weights: the network's output on an input of
# ones, with squared weights. So $\kappa$ costs one more pass on a single example.

# %%
import os

import jax


jax.config.update("jax_enable_x64", True)  # before the first array is made

import equinox as eqx
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from implicit_flow import networks


FAST = os.environ.get("FAST") == "1"

# %% [markdown]
# ## Two starts
#
# A quarter of the hidden units are drawn, and rescaled by ten or so, as published.

# %%
data = networks.digits().flat()
task = networks.ImageTask(data, dtype=float)
balanced = networks.MLP((64, 64, 64, 10), key=jax.random.key(0))
unbalanced = networks.rescale(balanced, jax.random.key(1))

images = jnp.asarray(data.test_inputs, float)
outputs = [jax.vmap(network)(images) for network in (balanced, unbalanced)]
float(jnp.max(jnp.abs(outputs[0] - outputs[1])))

# %% [markdown]
# One function. Its path-norm is one number too, whereas the sum of squares is not:

# %%
for network in (balanced, unbalanced):
    weights = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    squares = sum(float(jnp.sum(w**2)) for w in weights)
    print(f"path-norm {float(networks.path_norm(network)):.6f}   sum of squares {squares:.1f}")

# %% [markdown]
# ## Two optimizers
#
# Path-SGD is an Optax transformation like any other. SGD gets a step size at which the balanced
# start does well.

# %%
optimizers = {
    "sgd": optax.sgd(0.1),
    "path-sgd": networks.path_sgd(0.1, balanced),
}
steps = 40 if FAST else 400
curves = {}
for name, optimizer in optimizers.items():
    for start, network in (("balanced", balanced), ("unbalanced", unbalanced)):
        trained = networks.train(
            network,
            task,
            optimizer,
            key=jax.random.key(2),
            num_steps=steps,
            measure_every=steps // 8,
        )
        curves[name, start] = np.array(trained.curve("train_loss"))

# %%
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
colors = {"sgd": "#D55E00", "path-sgd": "#0072B2"}
for (name, start), losses in curves.items():
    style = "-" if start == "balanced" else "o--"
    axis.plot(np.linspace(0, steps, losses.size), losses, style, color=colors[name], mfc="none",
              label=f"{name}, {start}")  # fmt: skip
axis.set(xlabel="step", ylabel="cross-entropy (training)", yscale="log")
axis.legend()
figure

# %% [markdown]
# ## What it shows
#
# The two curves of Path-SGD lie on each other, to rounding. Those of SGD part at the first step:
# where the weights into a unit are $c$ times as large, their gradients are $1/c$ times as large,
# and those of the weights out of it $c$ times.
#
# That Path-SGD is *better* than SGD is another claim, which depends on data, network and step
# sizes: `implicit-flow experiments run path-sgd-feedforward` and `path-sgd-rnn` say what comes out.

# %%
same = np.abs(curves["path-sgd", "balanced"] / curves["path-sgd", "unbalanced"] - 1)
assert float(same.max()) < 1e-9
assert curves["path-sgd", "unbalanced"][-1] < 0.5 * curves["path-sgd", "unbalanced"][0]
apart = np.abs(curves["sgd", "balanced"] / curves["sgd", "unbalanced"] - 1)
assert not float(apart.max()) < 0.1  # or nan: SGD left the numbers
