"""What decides an outcome where the numbers say nothing."""

import math

import numpy as np
import pytest
import xarray
from matplotlib.figure import Figure

from implicit_flow.experiments import (
    _language as language,
    geometry,
    kernel_and_rich,
    one_pass_sgd,
    path_norm_rescaling,
    path_sgd_rnn,
)
from implicit_flow.experiments._finish import conclude
from implicit_flow.experiments._recovery_picture import _success


def test_a_network_that_is_zero_leaves_the_claim_about_its_outputs_open():
    def outcome(change):
        norms = {name: ("factor", np.ones(2)) for name in ("path_norm_1", "path_norm_2")}
        changes = {"change_of_outputs": ("factor", np.full(2, change))}
        ds = xarray.Dataset(
            {"l2_norm": ("factor", np.array([1.0, 10.0])), **norms, **changes},
            {"factor": [1.0, 10.0]},
            {"dtype": "float64"},
        )
        return path_norm_rescaling._outcome(ds)["outcome"]

    assert outcome(1e-16) == "holds"
    assert outcome(1e-3) == "fails"
    assert outcome(np.inf) == "fails"
    assert outcome(np.nan) == "undecided"


def test_a_share_of_a_gap_within_the_spread_is_not_told():
    def told(lstm):
        losses = {"rnn sgd": 0.9, "rnn path-sgd": 0.5, "lstm sgd": lstm}
        values = np.array([[losses[m] - 0.05, losses[m] + 0.05] for m in path_sgd_rnn._METHODS])
        ds = xarray.Dataset(
            {
                "test_loss": (("model", "seed", "step"), values[:, :, None]),
                "is_inside": ("model", np.ones(3, bool)),
            },
            {"model": list(path_sgd_rnn._METHODS)},
            {"unit": "squared error", "task": "adding"},
        )
        return path_sgd_rnn._outcome(ds)

    wide, narrow = told(0.1), told(0.85)
    assert wide["outcome"] == narrow["outcome"] == "holds"
    assert "bridges 50% of the gap" in wide["outcome_text"]
    assert "no gap to bridge" in narrow["outcome_text"]


def rich(excess, num_solved):
    """Depth 3 with an excess of the l1 norm along alpha, and flows of which some were solved."""
    flows = np.where(np.arange(4) < num_solved, 1e-9, np.nan)[None]
    return xarray.Dataset(
        {
            "l1_excess": (("depth", "log10_alpha"), np.array([[1.0, 1.0, *excess]])),
            "l2_excess": (("depth", "log10_alpha"), np.zeros((1, 2 + len(excess)))),
            "flow_distance": (("depth", "flow_log10_alpha"), flows),
            "flow_error_estimate": (("depth", "flow_log10_alpha"), np.full((1, 4), 1e-8)),
        },
        {"depth": [3], "log10_alpha": [4.0, 0.0, -4.0, -6.0, -8.0]},
        {"l1_gap": 1e-12, "num_flows": 4, "dim": 4, "num_measurements": 2},
    )


def test_exponents_count_against_the_claim_only_where_the_excess_is_small():
    outcome = lambda *given: kernel_and_rich._outcome(rich(*given))["outcome"]
    assert outcome((1e-3, 1e-5, 1e-7), 4) == "holds"
    # 0.78 between 1e-4, where the excess has only begun to fall, and 1e-8.
    assert outcome((1.5e-2, 2e-3, 1.2e-5), 4) == "undecided"
    assert outcome((9e-4, 9e-5, 9e-6), 4) == "fails"
    assert outcome((1e-3, 1e-5, 1e-7), 1) == "undecided"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1.0, np.nan], "Not finite: 1 of 2 of x"),
        ([1.0, np.inf], "Not finite: 1 of 2 of x"),
        ([], "Not measured: x"),
        (np.full((2, 3), np.nan), "Not finite: 6 of 6 of x"),
    ],
)
@pytest.mark.parametrize("outcome", ["holds", "fails"])
def test_what_is_missing_leaves_a_claim_open(numbers, said, outcome):
    found = conclude(outcome, "All well.", {"x": numbers, "y": 0.0})
    assert found["outcome"] == "undecided"
    assert found["outcome_text"] == f"{said}. All well."
    whole = conclude(outcome, "All well.", {"x": [1.0, 2.0], "y": True})
    assert whole == {"outcome": outcome, "outcome_text": "All well."}


def test_geometry_needs_two_equations_and_targets_that_are_not_zero():
    # With one equation coordinate and sign descent end at the least norm, whatever it is.
    with pytest.raises(ValueError, match="`num_measurements` must be at least 2, but is 1"):
        geometry.run(setting="tiny", num_measurements=1)
    planted = geometry._planted(200, 2, np.random.default_rng(0))
    assert np.all(planted >= 0)
    assert np.all(planted.max(axis=1) > 0)
    # One of four would be zero by chance.
    assert 20 < np.sum(planted.min(axis=1) > 0) < 80


def test_the_shortest_program_where_none_fits_has_the_fewest_bits():
    """Against a loop over all programs: many mistakes may be cheaper to list than half of them."""
    programs = language.all_programs(3, 2)
    random, fewest = np.random.default_rng(1), 0
    for _ in range(60):
        labels = random.random(8) < 0.5
        examples = random.integers(4, size=8)
        total = int(examples.sum())
        found = language.shortest(programs, examples, labels)
        costs = []
        for entry in programs:
            outputs = np.unpackbits(entry.outputs, axis=1).astype(bool)
            for row in outputs:
                wrong = int(np.sum(examples * (row != labels)))
                bits = language.num_bits(entry.length)
                costs.append((wrong, bits + math.log2((total + 1) * math.comb(total, wrong))))
        fits = [cost for wrong, cost in costs if wrong == 0]
        assert math.isclose(found.bits, min(fits or [cost for _, cost in costs]), rel_tol=1e-12)
        fewest += not fits and found.mistakes > min(wrong for wrong, _ in costs)
    assert fewest > 0


def test_shares_are_drawn_where_they_are():
    levels = xarray.DataArray(
        np.array([[0.0, 0.0, 0.5], [1.0, 1.0, 1.0]]),
        {"ratio": [1.0, 2.0], "algorithm": ["a", "b", "c"]},
    )
    axis = Figure().subplots()
    _success(axis, levels.ratio, levels, levels.to_dataset(name="success"))
    for line, name in zip(axis.lines, "abc", strict=True):
        np.testing.assert_array_equal(line.get_ydata(), levels.sel(algorithm=name))


def test_infinite_risks_are_marked():
    risk = np.ones((1, 3, 2, 2))
    risk[0, 1, 0] = np.inf
    ds = xarray.Dataset(
        {
            "excess_risk": (("problem", "learner", "t", "trial"), risk),
            "bound": (("problem", "t"), np.ones((1, 2))),
            "is_convex": ("problem", [1]),
        },
        {"problem": ["density, SGD"], "learner": list(one_pass_sgd.LEARNERS), "t": [10, 100]},
    )
    (axis,) = one_pass_sgd.plot(ds).axes
    (marks,) = (line for line in axis.lines if line.get_marker() == "^")
    np.testing.assert_array_equal(marks.get_xdata(), [10])
    # Of the height of the panel.
    assert axis.get_xaxis_transform() == marks.get_transform()
    assert [text.get_text() for text in axis.texts] == ["infinite"]
