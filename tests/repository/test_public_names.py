"""The names of the design, as users have written them in their programs.

Names here must not change; new arguments may be added. What the design promises and the library
does not have yet is absent: a name joins its list in the change that brings it.
"""

import importlib
import inspect

import pytest

import implicit_flow as imf


GENERATOR = "*, key, noise"

# Path -> parameters, as in a signature: those before `*` may be given by position.
CALLS = {
    "Problem": "measurement, targets, loss, ground_truth",
    "Problem.residual": "self, X",
    "measurements.DenseMeasurement": "stack",
    "measurements.EntryMeasurement": "rows, cols, dim",
    "measurements.RankOneMeasurement": "vectors",
    "measurements.DiagonalMeasurement": "matrix",
    "measurements.CommutingMeasurement": "basis, spectra",
    "measurements.from_function": "apply, dim, num_measurements",
    "measurements.rectangular_entries": "rows, cols, shape",
    "AbstractMeasurement.apply": "self, X",
    "AbstractMeasurement.adjoint": "self, r",
    "AbstractMeasurement.as_stack": "self",
    "losses.Squared": "",
    "losses.WeightedSquared": "weights",
    "losses.Huber": "delta",
    "losses.LogCosh": "",
    "losses.Logistic": "",
    "losses.Exponential": "",
    "problems.gaussian_sensing": f"dim, rank, num_measurements, {GENERATOR}",
    "problems.matrix_completion": f"dim, rank, num_measurements, {GENERATOR}",
    "problems.phase_retrieval": f"dim, num_measurements, {GENERATOR}",
    "problems.commuting_sensing": f"dim, num_measurements, {GENERATOR}",
    "problems.single_measurement": f"dim, {GENERATOR}",
    "problems.nonnegative_least_squares": f"dim, num_measurements, {GENERATOR}",
    "problems.rectangular_completion": f"shape, rank, num_measurements, {GENERATOR}",
    "problems.load": "path, *, dim",
    "flows.FactorFlow": "rank",
    "flows.MatrixFlow": "",
    "flows.EuclideanFlow": "",
    "flows.HadamardFlow": "depth",
    "flows.SignedHadamardFlow": "depth",
    "flows.DeepFlow": "depth",
    "flows.MirrorFlow": "potential",
    "flows.SteeredFlow": "steering",
    "flows.potentials.Quadratic": "",
    "flows.potentials.Entropy": "",
    "flows.potentials.Hypentropy": "beta",
    "flows.potentials.PNorm": "p",
    "simulate": (
        "problem, flow, *, alpha, log10_alpha, init, t1, solver, rtol, saveat, max_steps, adjoint, "
        "progress, throw"
    ),
    "descend": "problem, flow, optimizer, *, alpha, log10_alpha, init, num_steps, saveat",
    "limit": "problem, flow, *, log10_alphas, rtol, throw",
    "certify": "problem, X_or_solution, *, dual",
    "Solution.rank": "self, tol",
    "Solution.save": "self, path",
    "Solution.load": "path",
    "Solution.to_xarray": "self",
    "convex.min_nuclear_norm": "problem",
    "convex.min_frobenius": "problem",
    "convex.min_l1": "problem",
    "convex.min_l2": "problem",
    "convex.trace_norm": "W",
    "convex.weighted_trace_norm": "W, p, q",
    "convex.max_norm": "W",
    "convex.dual_bound": "problem, nu",
    "convex.duality_gap": "problem, X, nu",
    "closed_forms.single_measurement": "problem, *, alpha, log10_alpha, init, t",
    "closed_forms.commuting": "problem, *, alpha, log10_alpha, init, t",
    "closed_forms.commuting_limit": "problem, *, init",
    "closed_forms.hadamard": "problem, *, alpha, log10_alpha, init, t, depth",
    "closed_forms.signed_hadamard": "problem, *, alpha, log10_alpha, init, t, depth",
    "closed_forms.linear": "problem, *, alpha, log10_alpha, init, t",
    "closed_forms.full_observation": "problem, *, alpha, log10_alpha, init, t",
    "recovery.spectral_start": "problem, rank",
    "recovery.random_start": "problem, rank, *, key",
    "recovery.gradient_descent": "problem, start, *, rtol, num_steps, noise, key",
    "recovery.alternating_minimization": "problem, start, *, rtol, num_steps",
    "recovery.isometry": "measurement, rank, *, key, scale, num_starts, num_steps",
    "landscape.Sensing": "problem, rank",
    "landscape.Completion": "problem, rank, *, row_bound, weight",
    "landscape.PrincipalComponents": "matrix, rank",
    "landscape.PhaseRetrieval": "problem",
    "landscape.Synchronization": "matrix, rank",
    "landscape.DeepLinear": "matrix, depth",
    "landscape.find_critical_points": "objective, starts, *, minimum, tolerance, num_steps",
    "landscape.hessian": "objective, point",
    "landscape.min_eigenvalue": "objective, point",
    "landscape.gradient_descent": (
        "objective, start, *, num_steps, goal, gradient_tolerance, noise, infimum, key"
    ),
    "solvers.ResidualRadau": "",
    "sweep": "function, axes, *, static, store, chunk_size, mesh, resume, progress",
    "networks.path_norm": "network, p, *, input_shape",
    "networks.path_scaling": "network, *, input_shape, second_order",
    "networks.scale_by_path_norm": "network, *, input_shape, update_every",
    "networks.path_sgd": "learning_rate, network, *, input_shape, momentum, update_every",
    "networks.rescale": "network",
    "networks.support_report": "network, *, input_shape",
    "networks.MLP": "",
    "networks.ConvNet": "",
    "networks.RNN": "",
    "networks.LSTM": "",
    "citation": "",
}

# Class -> fields and properties.
ATTRIBUTES = {
    "Problem": "measurement targets loss ground_truth dim num_measurements",
    "AbstractMeasurement": "dim num_measurements",
    "Solution": (
        "X residual residual_norm dual x ts Xs residuals duals result stats error_estimate "
        "nuclear_norm W W_nuclear_norm"
    ),
    "Limit": "X error_estimate log10_alphas Xs certificate verdict",
    "Certificate": (
        "primal_value dual_bound upper_bound gap excess_at_least feasibility dual explanation "
        "verdict"
    ),
    "convex.ConvexSolution": "X dual value gap",
    "convex.MatrixNorm": "value lower_bound gap U V dual row_weights column_weights",
    "recovery.Recovered": "X misfit num_steps",
    "recovery.Isometry": "lower upper smallest largest X_smallest X_largest spread scaled_lower",
    "landscape.CriticalPoints": (
        "points values gradient_norms min_eigenvalues max_eigenvalues counts kinds num_starts "
        "num_lost"
    ),
    "landscape.Eigenpair": "value vector residual",
    "landscape.Descent": "point value gradient_norm num_steps",
}

# Names that are neither called nor looked into here.
OTHERS = ["__version__", "RESULTS", "AbstractLoss", "AbstractFlow", "plotting"]

# The kinds of each family, so that `isinstance` keeps its meaning.
FAMILIES = {
    "AbstractMeasurement": ["Dense", "Entry", "RankOne", "Diagonal", "Commuting", "Function"],
    "AbstractLoss": ["Squared", "WeightedSquared", "Huber", "LogCosh", "Logistic", "Exponential"],
    "AbstractFlow": [
        "Factor",
        "Matrix",
        "Euclidean",
        "Hadamard",
        "SignedHadamard",
        "Deep",
        "Mirror",
    ],
}
SUFFIX = {"AbstractMeasurement": "Measurement", "AbstractLoss": "", "AbstractFlow": "Flow"}
HOME = {"AbstractMeasurement": "measurements", "AbstractLoss": "losses", "AbstractFlow": "flows"}

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def find(path):
    """As a user reaches it: attribute by attribute from the package."""
    value = imf
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("path", CALLS)
def test_parameters(path):
    actual = inspect.signature(find(path)).parameters
    before, _, after = CALLS[path].partition("*")
    by_position = [name.strip() for name in before.split(",") if name.strip()]
    by_keyword = [name.strip() for name in after.split(",") if name.strip()]
    kinds = {name: parameter.kind for name, parameter in actual.items()}
    assert [name for name in kinds if kinds[name] in POSITIONAL][: len(by_position)] == by_position
    for name in by_keyword:
        assert kinds.get(name) == inspect.Parameter.KEYWORD_ONLY, name
    # A new argument that had to be given would break every program there is.
    new = set(actual) - {*by_position, *by_keyword}
    if CALLS[path] and "." in path and path.split(".")[0] != "networks":
        needed = {n for n in new if actual[n].default is inspect.Parameter.empty}
        assert {n for n in needed if kinds[n] in (*POSITIONAL, 3)} == set()


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_attributes(path):
    kind = find(path)
    fields = getattr(kind, "__dataclass_fields__", {})
    missing = [n for n in ATTRIBUTES[path].split() if not hasattr(kind, n) and n not in fields]
    assert missing == []


@pytest.mark.parametrize("path", OTHERS)
def test_other_names(path):
    assert find(path) is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_families(family):
    home = importlib.import_module(f"implicit_flow.{HOME[family]}")
    for name in FAMILIES[family]:
        assert issubclass(getattr(home, name + SUFFIX[family]), find(family)), name


def test_every_name_is_where_the_package_says():
    """`dir` shows what there is, and each name comes."""
    for name in dir(imf):
        assert getattr(imf, name) is not None, name
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        imf.simulat  # noqa: B018


def test_defaults():
    """Values that the design states."""
    defaults = {
        "simulate": {"throw": True, "progress": False, "t1": None, "init": None},
        "limit": {"throw": True, "log10_alphas": None},
        "networks.path_norm": {"p": 2, "input_shape": None},
        "networks.path_scaling": {"second_order": False},
        "networks.path_sgd": {"momentum": None, "update_every": 1},
        "sweep": {"static": (), "store": None, "chunk_size": None, "mesh": None, "resume": True},
        "flows.HadamardFlow": {"depth": 2},
        "flows.FactorFlow": {"rank": None},
        "problems.gaussian_sensing": {"noise": 0.0},
        "problems.load": {"dim": None},
    }
    for path, wanted in defaults.items():
        actual = inspect.signature(find(path)).parameters
        assert {name: actual[name].default for name in wanted} == wanted, path
