"""Where the flows of the suite end, by SciPy's implicit Runge-Kutta code, which shares nothing.

    python -m benchmarks.references              # those that are missing
    python -m benchmarks.references --only 20/60 --budget 3600

Two forms of the same flow, both written out here:

- in U, for alpha from 1e-12 on, where floats hold U0 beside U;
- below that in the eigenvalues exp(d) and eigenvectors Q of X, the spectral flow
  d_i' = 2 N_ii, Q' = Q K, K_ij = N_ij coth((d_j - d_i) / 2), N = -Q' A*(r) Q,
  from the eigenvectors of A*(y), with d = log(alpha) + 2 t lambda while X is below rounding.

They run until X has moved by less than 1e-8 over each of four doublings of time. What has not come
to rest within the budget is not kept, and the benchmark then says that its reference is a tighter
run of the library.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import DOP853, Radau

from .suite import INSTANCES, Instance


ENDS_FILE = Path(__file__).parent / "results" / "references.npz"
FACTS_FILE = ENDS_FILE.with_suffix(".json")
SMALLEST_IN_U = -12.0
# The Jacobian of Radau has n^4 entries.
LARGEST_IMPLICIT = 20
LATEST = 1e22
STILL, DOUBLINGS = 1e-8, 4


class Form(NamedTuple):
    """One way to write the flow: its field, its start, the size of it, and X of a state."""

    name: str
    field: Callable
    t0: float
    start: np.ndarray
    size: float
    X: Callable[[np.ndarray], np.ndarray]


def _in_factor(A: np.ndarray, y: np.ndarray, log10_alpha: float) -> Form:
    n = A.shape[1]
    flat, targets = jnp.asarray(A.reshape(len(y), -1)), jnp.asarray(y)

    def field(t: Any, u: Any) -> Any:
        U = u.reshape(n, n)
        r = flat @ (U @ U.T).ravel() - targets
        return -((r @ flat).reshape(n, n) @ U).ravel()

    size = 10.0 ** (log10_alpha / 2)
    start = size * np.eye(n).ravel()
    return Form("U", field, 0.0, start, size, lambda u: u.reshape(n, n) @ u.reshape(n, n).T)


def _in_spectrum(A: np.ndarray, y: np.ndarray, log10_alpha: float) -> Form:
    n = A.shape[1]
    flat, targets = jnp.asarray(A.reshape(len(y), -1)), jnp.asarray(y)
    rates, vectors = np.linalg.eigh(np.tensordot(y, A, 1))
    rates, vectors = rates[::-1], vectors[:, ::-1]
    log_alpha = log10_alpha * np.log(10)
    # Linear until the largest eigenvalue of X is at 1e-15.
    t0 = max((np.log(1e-15) - log_alpha) / (2 * rates[0]), 0.0)
    diagonal = jnp.eye(n) > 0

    def field(t: Any, u: Any) -> Any:
        Q, d = u[: n * n].reshape(n, n), u[n * n :]
        r = flat @ ((Q * jnp.exp(d)) @ Q.T).ravel() - targets
        N = -Q.T @ (r @ flat).reshape(n, n) @ Q
        half = jnp.where(diagonal, 1.0, (d[None, :] - d[:, None]) / 2)
        K = jnp.where(diagonal, 0.0, N / jnp.tanh(half))
        return jnp.concatenate([(Q @ K).ravel(), 2 * jnp.diagonal(N)])

    def X(u: np.ndarray) -> np.ndarray:
        Q, R = np.linalg.qr(u[: n * n].reshape(n, n))
        Q = Q * np.sign(np.diag(R))
        return (Q * np.exp(u[n * n :])) @ Q.T

    start = np.concatenate([vectors.ravel(), log_alpha + 2 * t0 * rates])
    return Form("eigenvalues and eigenvectors", field, t0, start, 1.0, X)


def rest_of(instance: Instance, *, rtol: float, budget: float) -> tuple[np.ndarray | None, dict]:
    """X at rest, or None where the budget (seconds) was not enough; and how it was found."""
    problem = instance.problem()
    A, y = np.asarray(problem.measurement.as_stack()), np.asarray(problem.targets)
    form = (_in_factor if instance.log10_alpha >= SMALLEST_IN_U else _in_spectrum)(
        A, y, instance.log10_alpha
    )
    field = jax.jit(form.field)
    implicit = problem.dim <= LARGEST_IMPLICIT
    options: dict[str, Any] = {"rtol": rtol, "atol": 0.1 * rtol * form.size}
    if implicit:
        jacobian = jax.jit(jax.jacfwd(form.field, argnums=1))
        options["jac"] = lambda t, u: np.asarray(jacobian(t, u))
    kind = Radau if implicit else DOP853
    run = kind(lambda t, u: np.asarray(field(t, u)), form.t0, form.start, LATEST, **options)
    began, steps, still, before, due = time.process_time(), 0, 0, None, 0.0
    while run.status == "running" and still < DOUBLINGS:
        run.step()
        steps += 1
        if run.t > due:
            X = form.X(run.y)
            if before is not None and run.t > 3 * form.t0 + 10:
                moved = np.linalg.norm(X - before) / np.linalg.norm(X)
                met = np.linalg.norm(np.einsum("kij,ij->k", A, X) - y) <= 1e-7 * np.linalg.norm(y)
                still = still + 1 if moved <= STILL and (met or not instance.feasible) else 0
            before, due = X, 2 * run.t
        if time.process_time() - began > budget:
            break
    facts = {
        "method": f"SciPy {kind.__name__} in {form.name}",
        "rtol": rtol,
        "time": float(run.t),
        "steps": steps,
        "cpu_seconds": time.process_time() - began,
        "at_rest": still >= DOUBLINGS,
    }
    return (form.X(run.y) if facts["at_rest"] else None), facts


def load() -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """The ends that are known, and how each was found."""
    if not ENDS_FILE.exists():
        return {}, {}
    return dict(np.load(ENDS_FILE)), json.loads(FACTS_FILE.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only instances whose name contains this")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for each")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for instance in INSTANCES:
        ends, facts = load()
        if instance.reference is not None or options.only not in instance.name:
            continue
        if instance.name in ends:
            continue
        rtol = 1e-9 if instance.problem().dim <= LARGEST_IMPLICIT else 1e-12
        X, found = rest_of(instance, rtol=rtol, budget=options.budget)
        print(f"{instance.name:24s} {found}", flush=True)
        facts[instance.name] = found
        if X is not None:
            ends[instance.name] = X
        ENDS_FILE.parent.mkdir(exist_ok=True)
        np.savez_compressed(ENDS_FILE, **ends)
        FACTS_FILE.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
