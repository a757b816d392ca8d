"""What decides an outcome where the numbers say nothing."""

import numpy as np
import xarray

from implicit_flow.experiments import kernel_and_rich, path_norm_rescaling


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
