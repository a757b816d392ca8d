"""Nothing happens at import, and nothing heavy comes with what is light."""

import os
import pathlib
import subprocess
import sys


ROOT = pathlib.Path(__file__).parents[2]


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def test_the_package_itself_imports_nothing_heavy():
    program = """
import os, sys, warnings
before, environment, filters = set(sys.modules), dict(os.environ), list(warnings.filters)
import implicit_flow
implicit_flow.__version__, dir(implicit_flow)
assert os.environ == environment
assert warnings.filters == filters
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    loaded = set(run(program))
    ours = {name for name in loaded if not name.startswith("__editable__")}
    assert ours - sys.stdlib_module_names == {"implicit_flow"}


def test_the_parts_change_no_flags_and_run_nothing():
    """With a platform that does not exist, the first array made would be an error."""
    program = """
import os, sys, warnings
import jax, diffrax, equinox, lineax, optax, optimistix, clarabel
import scipy.sparse, scipy.special
import importlib, pkgutil

flags, environment, filters = dict(jax.config.values), dict(os.environ), list(warnings.filters)
state = __import__("numpy").geterr()
import implicit_flow

for name in dir(implicit_flow):
    getattr(implicit_flow, name)
for module in pkgutil.iter_modules(implicit_flow.__path__):
    if module.name not in ("cli", "plotting", "experiments"):
        importlib.import_module(f"implicit_flow.{module.name}")
assert dict(jax.config.values) == flags, "flags of JAX"
assert os.environ == environment, "the environment"
assert warnings.filters == filters, "warnings filters"
assert __import__("numpy").geterr() == state, "NumPy's error state"
heavy = {"matplotlib", "xarray", "zarr", "sklearn", "typer", "rich", "pandas", "IPython"}
print(*sorted(heavy & set(sys.modules)))
"""
    assert run(program, JAX_PLATFORMS="none_such") == []
