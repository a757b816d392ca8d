"""The choice of step sizes never ends where a grid ends."""

import math

from implicit_flow.experiments._step_size import choose_step_size


def test_a_grid_is_extended_on_either_side():
    for best in (-4.0, 0.5, 6.0):
        found = choose_step_size(lambda rate, best=best: abs(-math.log10(rate) - best), (0, 0.5, 1))
        assert math.isclose(found.rate, 10.0**-best)
        assert found.is_inside
        assert min(found.scores) < best < max(found.scores)


def test_lost_runs_are_beyond_any_other():
    """Large steps diverge: the best may be the largest that does not."""
    found = choose_step_size(lambda rate: -rate if rate < 50 else math.inf, (2, 3))
    assert found.rate == 10.0
    assert found.is_inside
    pairs = choose_step_size(
        lambda rate: (math.inf, math.inf) if rate > 5e-3 else (0.1, -rate), (0, 1)
    )
    assert math.isclose(pairs.rate, 1e-3)
    assert pairs.is_inside


def test_the_limit_is_kept_and_said():
    found = choose_step_size(lambda rate: -rate, (0, 1), most_tried=5)
    assert (len(found.scores), found.rate, found.is_inside) == (5, 1000.0, False)
    lost = choose_step_size(lambda rate: math.inf, (0, 1), most_tried=4)
    assert (len(lost.scores), lost.is_inside) == (4, False)
