"""Pictures show the median of the answers, and every cell that is not one."""

import numpy as np
import pytest
import xarray

from implicit_flow import sweeps
from implicit_flow.sweeps import NOT_FINITE, PENDING
from implicit_flow.sweeps._outcomes import outcome_attributes, outcome_table


def dataset_of(values, result, **coords):
    dims = tuple(coords)
    attributes = outcome_attributes(outcome_table(None))
    return xarray.Dataset(
        {
            "gap": (dims, values, {"units": "m", "description": "how far"}),
            "result": (dims, np.asarray(result, np.int32), attributes),
            "vector": ((*dims, "i"), np.zeros((*np.shape(values), 2))),
        },
        coords=coords,
    )


@pytest.fixture
def spoiled():
    """Three alphas, five seeds; one failed with a value, one without, one column is pending."""
    values = np.arange(15.0).reshape(3, 5)
    result = np.zeros((3, 5))
    result[0, 4] = NOT_FINITE
    values[0, 4] = 1000.0
    result[1, 1] = NOT_FINITE
    values[1, 1] = np.nan
    result[2] = PENDING
    values[2] = np.nan
    return dataset_of(values, result, alpha=[1.0, 2.0, 3.0], seed=np.arange(5))


def lines(axes):
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), line.get_marker())
            for line in axes.lines]  # fmt: skip


def texts(figure):
    axes = figure.axes[0]
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else [axes.get_title()]


def test_curves_are_medians_of_answers_and_mark_the_rest(spoiled):
    figure = sweeps.curves(spoiled, "gap", "alpha")
    axes = figure.axes[0]
    (x, median, _), (failed_x, failed_y, cross), (edge_x, edge_y, edge_cross) = lines(axes)
    assert x.tolist() == [1.0, 2.0, 3.0]
    # 0 1 2 3, and 5 7 8 9; nothing at all for the last.
    assert median[:2].tolist() == [1.5, 7.5]
    assert np.isnan(median[2])
    assert (failed_x.tolist(), failed_y.tolist(), cross) == ([1.0], [1000.0], "x")
    assert (edge_x.tolist(), edge_y.tolist(), edge_cross) == ([2.0], [1.0], "x")
    band = axes.collections[0].get_paths()[0].vertices
    at_one = band[band[:, 0] == 1.0][:, 1]
    # Tenths of 0 1 2 3 by linear interpolation.
    assert at_one.min() == pytest.approx(0.3, rel=1e-12)
    assert at_one.max() == pytest.approx(2.7, rel=1e-12)
    words = texts(figure)
    assert "failed: 2 of 15 cells" in words
    assert "not yet computed: 5 of 15 cells" in words
    assert axes.get_ylabel() == "how far (m)"


def test_one_curve_for_each_value_of_by(spoiled):
    figure = sweeps.curves(spoiled, "gap", "alpha", by="seed")
    drawn = [line for line in lines(figure.axes[0]) if line[2] == "o"]
    assert len(drawn) == 5
    assert drawn[2][1][:2].tolist() == [2.0, 7.0]
    assert "seed = 3" in texts(figure)


def test_scales_follow_the_numbers():
    values = 10.0 ** -np.arange(6.0)
    ds = dataset_of(values, np.zeros(6), alpha=10.0 ** -np.arange(6.0))
    axes = sweeps.curves(ds, "gap", "alpha").axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    axes = sweeps.curves(ds.assign(gap=-ds["gap"]), "gap", "alpha").axes[0]
    assert axes.get_yscale() == "linear"


def test_curves_run_the_way_the_axis_was_given():
    ds = dataset_of([1.0, 2.0, 3.0], np.zeros(3), log10_alpha=[-1.0, -3.0, -5.0])
    assert sweeps.curves(ds, "gap", "log10_alpha").axes[0].xaxis_inverted()
    ds = ds.assign_coords(log10_alpha=[-5.0, -3.0, -1.0])
    assert not sweeps.curves(ds, "gap", "log10_alpha").axes[0].xaxis_inverted()


def test_a_long_legend_hides_no_curve():
    ds = dataset_of(np.ones((2, 12)), np.zeros((2, 12)), alpha=[1.0, 2.0], m=np.arange(12))
    figure = sweeps.curves(ds, "gap", "alpha", by="m")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1


def test_words_as_an_axis():
    ds = dataset_of([1.0, 2.0], [0, 0], name=np.asarray(["one", "two"], dtype=object))
    axes = sweeps.curves(ds, "gap", "name").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]


def test_heat_map_masks_and_marks_what_failed():
    values = np.arange(12.0).reshape(2, 3, 2)
    result = np.zeros((2, 3, 2))
    result[0, 0, 0] = NOT_FINITE
    result[0, 1] = NOT_FINITE
    result[1, 2] = PENDING
    ds = dataset_of(values, result, m=[4, 6], alpha=[0.1, 0.2, 0.3], seed=[0, 1])
    figure = sweeps.heat_map(ds, "gap", "alpha", "m")
    axes = figure.axes[0]
    shown = axes.collections[0].get_array().reshape(2, 3)
    assert shown.mask.tolist() == [[False, True, False], [False, False, True]]
    assert shown.filled(-1.0).tolist() == [[1.0, -1.0, 4.5], [6.5, 8.5, -1.0]]
    small, large = lines(axes)
    assert (small[0].tolist(), small[1].tolist()) == ([0.5], [0.5])
    assert (large[0].tolist(), large[1].tolist()) == ([1.5], [0.5])
    # The hatched rectangle stands where nothing has been computed.
    hatched = axes.collections[1].get_paths()[0].get_extents()
    assert (hatched.x0, hatched.y0, hatched.x1, hatched.y1) == (2.0, 1.0, 3.0, 2.0)
    assert "× failed: 3 of 12 cells" in axes.get_title()
    assert "not yet computed: 2 of 12 cells" in axes.get_title()


def test_pictures_can_be_saved(spoiled, tmp_path):
    sweeps.curves(spoiled, "gap", "alpha").savefig(tmp_path / "curves.png")
    sweeps.heat_map(spoiled, "gap", "alpha", "seed").savefig(tmp_path / "map.svg")
    assert (tmp_path / "curves.png").stat().st_size > 5000


@pytest.mark.parametrize("variable", ["vector", "nothing"])
def test_what_cannot_be_drawn(spoiled, variable):
    with pytest.raises(ValueError, match=r"`variable` must be one of gap, result"):
        sweeps.curves(spoiled, variable, "alpha")
    with pytest.raises(ValueError, match=r"`axes` must name axes of the sweep \(alpha, seed\)"):
        sweeps.heat_map(spoiled, "gap", "beta", "seed")
