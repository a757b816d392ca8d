"""What a user sees who passes something of another kind, without the type checks of the tests."""

import subprocess
import sys


PROGRAM = """
import diffrax, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import implicit_flow as imf

problem = imf.Problem(imf.measurements.DenseMeasurement(np.eye(2)[None]), [1.0])
commuting = imf.Problem(imf.measurements.DiagonalMeasurement(np.ones((1, 2))), [1.0])
key = jax.random.key(0)
calls = {
    "rtol": lambda: imf.simulate(problem, alpha=0.1, rtol="tight"),
    "rtol ": lambda: imf.simulate(problem, alpha=0.1, rtol=[1e-3, 1e-6]),
    "t1": lambda: imf.simulate(problem, alpha=0.1, t1="late"),
    "saveat": lambda: imf.simulate(problem, alpha=0.1, saveat="often"),
    "saveat ": lambda: imf.simulate(
        problem, alpha=0.1, saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(t1=True)])
    ),
    "log10_alpha": lambda: imf.simulate(problem, log10_alpha=400.0),
    "nu": lambda: imf.convex.dual_bound(problem, np.ones(3)),
    "init": lambda: imf.simulate(problem, alpha=0.1, init="identity"),
    "max_steps": lambda: imf.simulate(problem, alpha=0.1, max_steps=1.5),
    "solver": lambda: imf.simulate(problem, alpha=0.1, solver="radau"),
    "flow": lambda: imf.simulate(problem, imf.flows.FactorFlow, alpha=0.1),
    "problem": lambda: imf.simulate("file.npz", alpha=0.1),
    "log10_alphas": lambda: imf.limit(problem, log10_alphas="small"),
    "log10_alphas ": lambda: imf.limit(problem, log10_alphas=[[-1.0]]),
    "tolerance": lambda: imf.certify(problem, np.eye(2) / 2, tolerance="small"),
    "gap_tolerance": lambda: imf.certify(problem, np.eye(2) / 2, gap_tolerance=[1e-3, 1e-3]),
    "recorded_steps": lambda: imf.solvers.ResidualRadau(recorded_steps=1.5),
    "spread": lambda: imf.solvers.ResidualRadau(spread="wide"),
    "max_stages": lambda: imf.solvers.RungeKuttaChebyshev(max_stages="many"),
    "t": lambda: imf.closed_forms.commuting(commuting, alpha=0.1, t="late"),
    "noise": lambda: imf.problems.gaussian_sensing(2, 1, 1, key=key, noise="little"),
    "key": lambda: imf.problems.gaussian_sensing(2, 1, 1, key=0),
    "targets": lambda: imf.Problem(problem.measurement, "y"),
    "stack": lambda: imf.measurements.DenseMeasurement("A"),
    "sparsity": lambda: imf.recovery.orthogonal_matching_pursuit(commuting, "1"),
    "rank": lambda: imf.recovery.spectral_start(problem, "1"),
}
for name, call in calls.items():
    try:
        print(f"{name}: {call()!r} and no error")
    except ValueError as error:
        if not str(error).startswith(f"Argument `{name.strip()}` must "):
            print(f"{name}: {error}")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
"""


def test_each_argument_of_another_kind_is_refused_by_name():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
