"""A Diffrax solver whose step is traced once, however often Diffrax asks for it."""

from typing import Any

import diffrax
import equinox as eqx


class TracedOnce(diffrax.AbstractWrappedSolver):
    """Another solver, with its step as a compiled function.

    Diffrax traces a step four times over, for shapes, for loops and for their derivatives, which is
    most of what tracing an integration costs. A function under `jit` is traced once for the same
    shapes, and remembered. Measured on the Hadamard flow with `Kvaerno5`: 0.95 instead of 1.9 s.

    Attributes:
        solver: does the work.
    """

    # What Diffrax declares as class variables are properties in its own wrapper too.
    solver: diffrax.AbstractSolver  # pyright: ignore[reportIncompatibleVariableOverride]

    @classmethod
    def of(cls, solver: diffrax.AbstractSolver, adjoint: diffrax.AbstractAdjoint) -> "TracedOnce":
        """Wrap a solver, with loops over its stages that `adjoint` can go through.

        Args:
            solver: to be wrapped.
            adjoint: of the integration.

        Returns:
            The wrapped solver.
        """
        inner: Any = innermost(solver)
        if isinstance(inner, diffrax.AbstractRungeKutta) and inner.scan_kind is None:
            # As Diffrax does, which cannot see through the wrapping.
            kinds = {diffrax.ForwardMode: "lax", diffrax.DirectAdjoint: "bounded"}
            solver = eqx.tree_at(
                lambda s: innermost(s).scan_kind,
                solver,
                kinds.get(type(adjoint), "checkpointed"),
                is_leaf=lambda leaf: leaf is None,
            )
        return cls(solver)

    @property
    def root_finder(self) -> Any:
        """That of an implicit solver."""
        return innermost(self.solver).root_finder

    @property
    def scan_kind(self) -> Any:
        """Of the solver that is wrapped; none of its own, which Diffrax would replace."""
        return getattr(innermost(self.solver), "scan_kind", "checkpointed")

    @property
    def term_structure(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the solver."""
        return self.solver.term_structure

    @property
    def interpolation_cls(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """That of the solver."""
        return self.solver.interpolation_cls

    @property
    def term_compatible_contr_kwargs(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the solver."""
        return self.solver.term_compatible_contr_kwargs

    def order(self, terms: Any) -> Any:
        """That of the solver."""
        return self.solver.order(terms)

    def strong_order(self, terms: Any) -> Any:
        """That of the solver."""
        return self.solver.strong_order(terms)

    def error_order(self, terms: Any) -> Any:
        """That of the solver."""
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """That of the solver."""
        return self.solver.init(terms, t0, t1, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """That of the solver, traced once."""
        return _step(self.solver, terms, t0, t1, y0, args, solver_state, made_jump)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """That of the solver."""
        return self.solver.func(terms, t0, y0, args)


def innermost(solver: diffrax.AbstractSolver) -> Any:
    """The solver within all wrappers, which has the options: of `HalfSolver(Tsit5())`, `Tsit5()`.

    Args:
        solver: wrapped or not.

    Returns:
        The solver that is no wrapper.
    """
    while isinstance(solver, diffrax.AbstractWrappedSolver):
        solver = solver.solver
    return solver


@eqx.filter_jit
def _step(solver: diffrax.AbstractSolver, *args: Any) -> Any:
    return solver.step(*args)
