"""An outcome has to notice that numbers are missing which it rests on."""

import numpy as np


# What is shown beside the numbers that decide, or is made of these; and flows that are not at rest,
# which are counted.
ONLY_SHOWN = {
    "commuting": {"excess", "theory"},
    "leaving-the-manifold": {"factorization_dependence", "factorization_dependence_of_adam"},
    "nonnegative-least-squares": {"theory"},
    "norms-diverge": {"naive_X11", "naive_loss", "naive_det"},
    "recovery": {"threshold", "delta_spread", "success"},
    "single-measurement": {"excess"},
    "sparse": {"flow_error_estimate"},
}
# These are missing by design where no exponent is seen: one more is such a place.
MISSING_BY_DESIGN = {"exponent_of_leading", "exponent_of_distance"}


def without(values, place=None):
    """Values of which one, or none, is left out."""
    lost = values.values.copy()
    if place is None:
        lost[...] = np.nan
    else:
        lost.reshape(-1)[place] = np.nan
    return values.copy(data=lost)


def check_lost_numbers(name, outcome, ds):
    """Without a variable that is read, or without one number of it, nothing is decided.

    Args:
        name: of the experiment.
        outcome: dataset -> what it says of it.
        ds: what it returned.
    """
    before, read = outcome(ds), set()
    for variable, values in ds.data_vars.items():
        if values.dtype.kind != "f" or variable in ONLY_SHOWN.get(name, ()):
            continue
        lost = outcome(ds.assign({variable: without(values)}))
        if lost == before:
            continue
        read.add(variable)
        assert lost["outcome"] == "undecided", variable
        # Not every entry need be read; of those that are spread over all, one is.
        places = np.flatnonzero(np.isfinite(values.values))
        if variable not in MISSING_BY_DESIGN:
            some = places[np.unique(np.linspace(0, len(places) - 1, 16).astype(int))]
            judged = (outcome(ds.assign({variable: without(values, k)})) for k in some[::-1])
            assert any(one["outcome"] == "undecided" for one in judged), variable
    # An outcome that read no number at all would pass.
    assert read or before["outcome"] == "undecided"
