"""Imports go down the floors of the design, and the oracle tower stands apart."""

import ast

import pytest


# Room -> floor. A room is a sub-package, or a file of the package itself.
FLOORS = {
    "_alpha": 0,
    "_checks": 0,
    "_citation": 0,
    "_compiled": 0,
    "_cores": 0,
    "_no_derivative": 0,
    "_random": 0,
    "_results": 0,
    "_side_by_side": 0,
    "_transformed": 0,
    "_errors_along": 0,
    "_times": 0,
    "_types": 0,
    "_version": 0,
    "linalg": 0,
    "losses": 1,
    "measurements": 1,
    "parametrizations": 1,
    "solvers": 1,
    "problems": 2,
    "flows": 3,
    "_congruence_term": 3,
    "_congruence": 4,
    "_descend": 4,
    "_range": 4,
    "_simulate": 4,
    "_solution": 4,
    "_solver_choice": 4,
    "_uncoupled": 4,
    "_limit": 5,
    "plotting": 5,
    "__main__": 6,
    "cli": 6,
    "experiments": 6,
}
# Rooms beside the house, and the highest floor that they import: the oracles never see a flow, so
# that agreement between the two is evidence.
BESIDE = {
    "closed_forms": 2,
    "convex": 2,
    "landscape": 2,
    "recovery": 2,
    "networks": 0,
    "sweeps": 0,
}
# The floors on which oracles and flows meet.
MEETING_FLOOR = 5
TOP = 6
# Rooms of these floors may use each other, one way.
SHARED_FLOORS = {0, 4, 5, 6}


def room_of(name):
    """`implicit_flow/flows/_base.py` -> flows; `implicit_flow/_limit.py` -> _limit."""
    return name.removesuffix(".py").split("/")[1]


def imports(name, text):
    """(line, room) of every import of our own, at the top or inside functions."""
    here = name.removesuffix(".py").split("/")
    package = here[:-1]
    for node in ast.walk(ast.parse(text)):
        targets = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            targets = [[*base, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        for target in targets:
            if target[0] == "implicit_flow":
                yield node.lineno, target[1] if len(target) > 1 else "__init__"


def allowed(room, other):
    if room == other:
        return True
    if room in BESIDE:
        # One oracle may build on another; a network or a sweep on nothing of ours.
        if other in BESIDE:
            return BESIDE[room] == BESIDE[other] == 2
        return FLOORS[other] <= BESIDE[room]
    if other in BESIDE:
        return FLOORS[room] >= MEETING_FLOOR
    if FLOORS[room] == FLOORS[other]:
        return FLOORS[room] in SHARED_FLOORS
    return FLOORS[other] < FLOORS[room]


def violations(sources):
    known, found, sideways = {**FLOORS, **BESIDE}, [], {}
    for name, text in sources.items():
        room = room_of(name)
        if room == "__init__":
            continue
        if room not in known:
            found.append(f"{name}: {room} has no floor in this test")
            continue
        for line, other in imports(name, text):
            if other not in known:
                if FLOORS.get(room) == TOP:
                    continue  # the roof may come through the door: `from .. import simulate`
                found.append(f"{name}:{line}: imports {other}, which has no floor")
            elif not allowed(room, other):
                found.append(f"{name}:{line}: {room} must not import {other}")
            elif room != other and FLOORS.get(room, -1) == FLOORS.get(other, -2):
                sideways.setdefault(room, set()).add(other)
    return found + cycles(sideways)


def cycles(edges):
    """Rooms of one floor that use each other both ways, directly or not."""

    def reach(start):
        seen, todo = set(), [start]
        while todo:
            for other in edges.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    return [f"{room} imports itself through its neighbors" for room in edges if room in reach(room)]


def test_imports_go_down(sources):
    assert violations(sources) == []


PLANTED = {
    "up": ("implicit_flow/problems/_x.py", "from ..flows import FactorFlow"),
    "sideways": ("implicit_flow/losses/_x.py", "from ..measurements._dense import A"),
    "inside a function": ("implicit_flow/losses/_x.py", "def f():\n    from .. import solvers"),
    "absolute": ("implicit_flow/losses/_x.py", "import implicit_flow.flows"),
    "absolute from": ("implicit_flow/losses/_x.py", "from implicit_flow import flows"),
    "through the door": ("implicit_flow/losses/_x.py", "import implicit_flow"),
    "an oracle that sees a flow": ("implicit_flow/closed_forms/_x.py", "from .. import flows"),
    "an oracle that sees a door": ("implicit_flow/convex/_x.py", "from .._simulate import x"),
    "a flow that sees an oracle": ("implicit_flow/flows/_x.py", "from ..convex import x"),
    "a door that sees an oracle": ("implicit_flow/_simulate.py", "from . import closed_forms"),
    "a sweep that sees a loss": ("implicit_flow/sweeps/_x.py", "from ..losses import Squared"),
    "a network that sees a sweep": ("implicit_flow/networks/_x.py", "from ..sweeps import sweep"),
    "a room without a floor": ("implicit_flow/attic/_x.py", "import jax"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_found(case):
    name, text = PLANTED[case]
    assert len(violations({name: text})) == 1


def test_a_planted_cycle_is_found():
    both = {
        "implicit_flow/_simulate.py": "from ._solution import Solution",
        "implicit_flow/_solution.py": "from ._simulate import simulate",
    }
    assert violations(both)


def test_what_is_allowed():
    fine = {
        "implicit_flow/losses/_x.py": "import jax\nfrom .._types import A\nfrom ._base import B",
        "implicit_flow/closed_forms/_x.py": "from ..problems import Problem\nfrom .. import linalg",
        "implicit_flow/_limit.py": "from .convex import certify\nfrom ._simulate import simulate",
        "implicit_flow/cli/_x.py": "from .. import sweeps, simulate",
    }
    assert violations(fine) == []
