"""Sizes of a run: merged with their setting, of the kind that it has, and not too small."""

import numpy as np
import pytest

from implicit_flow.experiments._sizes import of_their_kinds, sizes


SETTINGS = {
    "tiny": {"dim": 4, "alphas": (1, 0.5), "ranks": (1, 2), "scale": 1, "word": "a", "on": True},
    "quick": {"dim": 9, "alphas": (1,), "ranks": (1,), "scale": 0.5, "word": "b", "on": False},
}


def test_what_is_given_replaces_what_the_setting_says():
    found = sizes(SETTINGS, "quick", {"dim": 3, "alphas": None, "ranks": [5, 6], "scale": 2})
    assert found == {**SETTINGS["quick"], "dim": 3, "ranks": (5, 6), "scale": 2}
    # The settings themselves stay as they were.
    assert SETTINGS["quick"]["dim"] == 9


def test_one_value_where_several_are_taken():
    assert sizes(SETTINGS, "tiny", {"ranks": 3})["ranks"] == (3,)
    assert sizes(SETTINGS, "tiny", {"alphas": np.array([2, 3])})["alphas"] == (2, 3)
    assert of_their_kinds(SETTINGS, {"alphas": 2.5, "other": "x"}) == {
        "alphas": (2.5,),
        "other": "x",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dim": 2.5}, "`dim` must be an integer, but is 2.5"),
        ({"dim": True}, "`dim` must be an integer"),
        ({"dim": "four"}, "`dim` must be an integer, but is 'four'"),
        ({"dim": 0}, "`dim` must be at least 1, but is 0"),
        ({"ranks": (1, 0)}, r"`ranks` must hold at least 1, but is \(1, 0\)"),
        ({"ranks": (1, 1.5)}, "`ranks` must be an integer, but is 1.5"),
        ({"ranks": ()}, "`ranks` must hold at least one value"),
        ({"alphas": (float("nan"),)}, "`alphas` must be a finite number"),
        ({"scale": "big"}, "`scale` must be a finite number"),
        ({"scale": 11}, "`scale` must be at most 10, but is 11"),
        ({"word": 3}, "`word` must be a word"),
        ({"on": 1}, "`on` must be True or False"),
    ],
)
def test_refusals(given, said):
    with pytest.raises(ValueError, match=said):
        sizes(SETTINGS, "tiny", given, least={"dim": 1, "ranks": 1}, most={"scale": 10})


def test_an_unknown_setting_offers_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'quick'"):
        sizes(SETTINGS, "quik", {})
