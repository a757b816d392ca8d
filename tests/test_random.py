"""Random draws are those of JAX, bit for bit, with the options that users get."""

import os
import subprocess
import sys


PROGRAM = """
import jax, numpy as np
from implicit_flow import _random
from implicit_flow._compiled import quick_options

jax.config.update("jax_enable_x64", True)
assert quick_options()
key = jax.random.key(5)
for name, arguments in (
    ("normal", ((40, 4, 4), "float64")),
    ("normal", ((300,), "float32")),
    ("uniform", ((300,),)),
    ("permutation", (300,)),
):
    ours = getattr(_random, name)(key, *arguments)
    theirs = getattr(jax.random, name)(key, *arguments)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
"""


def test_draws_are_those_of_jax():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=120)
