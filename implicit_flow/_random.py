"""Random draws: outside `jit` each new shape is a program of its own, and quick to compile here.

Measured on `normal` of shape (40, 4, 4): 0.11 instead of 0.66 s, and the same bits.
"""

import jax

from ._compiled import compiled


normal = compiled(jax.random.normal)
uniform = compiled(jax.random.uniform)
permutation = compiled(jax.random.permutation)
