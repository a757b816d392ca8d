"""Pictures show the numbers, with labels that can be read, and change nothing else."""

import itertools

import equinox as eqx
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import implicit_flow as imf
from implicit_flow import RESULTS, plotting
from implicit_flow.plotting._style import power


def solution(values, log10_alpha, *, error=1e-9, result=RESULTS.successful, times=None):
    """A solution with these eigenvalues, in a basis that is not that of the axes."""
    n = len(values)
    basis = np.linalg.qr(np.arange(1.0, n * n + 1).reshape(n, n) ** 1.5 % 7)[0]
    X = jnp.asarray(basis @ np.diag(values) @ basis.T)
    zero = jnp.zeros(2)
    growth = None if times is None else jnp.asarray(1 - np.exp(-np.asarray(times)))
    return imf.Solution(
        X=X,
        residual=zero,
        residual_norm=jnp.array(0.0),
        dual=zero,
        x=None,
        time=jnp.array(9.0),
        log10_alpha=jnp.array(float(log10_alpha)),
        ts=None if times is None else jnp.asarray(times),
        Xs=None if growth is None else growth[:, None, None] * X[None],
        residuals=None if growth is None else (1 - growth)[:, None] * jnp.array([[3.0, 4.0]]),
        duals=None if growth is None else growth[:, None] * jnp.array([[1.0, 1.0]]),
        log_eigenvalues=None,
        error_estimate=jnp.array(error),
        error_estimates=None if times is None else jnp.full(len(times), error),
        result=result,
        stats={},
        flow="FactorFlow()",
        solver="none",
    )


def limit(log10_alphas, *, bound=2.0, upper=2.0, error=1e-9, last=RESULTS.successful):
    """A limit of trace 2 + 0.2 alpha^(1/10), with one eigenvalue that vanishes."""
    results = [RESULTS.successful] * (len(log10_alphas) - 1) + [last]
    sols = tuple(
        solution([1.5, 0.5, 0.2 * 10 ** (a / 10)], a, error=error, result=result)
        for a, result in zip(log10_alphas, results, strict=True)
    )
    certificate = imf.Certificate(
        primal_value=float(sols[-1].nuclear_norm),
        dual_bound=bound,
        upper_bound=upper,
        gap=0.0,
        excess_at_least=0.0,
        feasibility=0.0,
        slack=0.0,
        own_gap=0.0,
        reach=0.0,
        dual=np.zeros(2),
        contradiction=np.zeros(2),
        verdict="minimal",
        explanation="",
    )
    return imf.Limit(
        X=sols[-1].X,
        error_estimate=jnp.array(error),
        log10_alphas=jnp.asarray(log10_alphas, float),
        Xs=jnp.stack([sol.X for sol in sols]),
        certificate=certificate,
        verdict="minimal",
        explanation="",
        solutions=sols,
    )


SHORT = (-2.0, -4.0, -6.0, -8.0)
WIDE = (-2.0, -4.0, -6.0, -12.0, -30.0, -100.0, -300.0)
TIMES = np.linspace(0.0, 5.0, 40)


def labels(axis):
    return [label for label in axis.get_ticklabels() if label.get_text()]


def boxes(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            inside = [
                tick.label1.get_window_extent(renderer)
                for tick in axis.get_major_ticks()
                if tick.label1.get_visible()
                and tick.label1.get_text()
                and low <= tick.get_loc() <= high
            ]
            yield axis, inside


FIGURES = {
    f"{draw.__name__} {name}": lambda draw=draw, ladder=ladder: draw(limit(ladder))
    for draw in (plotting.nuclear_norm, plotting.excess, plotting.eigenvalues)
    for name, ladder in {
        "short": SHORT,
        "wide": WIDE,
        "one": (-3.0,),
        "two": (-1.5, -2.5),
        "deep": (-10.0, -100.0, -1000.0, -3000.0),
        "large": (1.0, 0.0, -1.0),
        "dense": tuple(-1 - 0.5 * k for k in range(30)),
    }.items()
} | {
    "path": lambda: plotting.path(solution([1.5, 0.5], -2, times=TIMES)),
    "in time": lambda: plotting.eigenvalues(solution([1.5, 0.5], -2, times=TIMES)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_labels_do_not_touch_and_stay_on_the_page(name):
    figure = FIGURES[name]()
    assert isinstance(figure, matplotlib.figure.Figure)
    page = figure.bbox
    for axis, found in boxes(figure):
        for one, other in itertools.combinations(found, 2):
            assert not one.overlaps(other), (name, axis)
        for box in found:
            assert page.x0 <= box.x0
            assert box.x1 <= page.x1 + 1
            assert page.y0 <= box.y0
            assert box.y1 <= page.y1 + 1
    assert all(axes.get_ylabel() for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()
    assert len(labels(figure.axes[-1].xaxis)) >= 1


def test_smaller_alphas_are_to_the_right_and_labeled():
    for ladder in (SHORT, WIDE):
        axes = plotting.nuclear_norm(limit(ladder)).axes[0]
        ticks = dict(
            zip(
                [label.get_text() for label in axes.get_xticklabels()],
                axes.get_xticks(),
                strict=True,
            )
        )
        assert ticks[power(ladder[0])] < ticks[power(ladder[-1])]


def test_nuclear_norm_shows_the_numbers():
    axes = plotting.nuclear_norm(limit(SHORT)).axes[0]
    shown = axes.containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(shown, [2 + 0.2 * 10 ** (a / 10) for a in SHORT], rtol=1e-12)
    heights = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert set(heights["lower bound: below it nothing fits"]) == {2.0}


def test_error_bars_bound_the_error_of_the_trace():
    found = limit(SHORT, error=0.03)
    axes = plotting.nuclear_norm(found).axes[0]
    (bars,) = axes.containers[0].lines[2]
    for segment, sol in zip(bars.get_segments(), found.solutions, strict=True):
        half = (segment[1][1] - segment[0][1]) / 2
        # The worst that a perturbation of relative Frobenius size 0.03 does to the trace.
        worst = 0.03 * float(jnp.linalg.norm(sol.X)) * np.sqrt(3)
        assert half == pytest.approx(worst, rel=1e-12)


def test_a_bound_far_away_does_not_flatten_the_picture():
    axes = plotting.nuclear_norm(limit(SHORT, bound=1e6, upper=float("inf"))).axes[0]
    assert axes.get_ylim()[1] < 10
    assert any("off the scale" in text.get_text() for text in axes.get_legend().get_texts())


def test_errors_of_the_solver_do_not_fill_the_picture():
    # From 1e-100 on the traces differ by 2e-11; bound and points are one line.
    low, high = plotting.nuclear_norm(limit((-100.0, -200.0, -300.0))).axes[0].get_ylim()
    assert low < 2 < high
    assert (high - low) / 2 > 1e-4


def test_excess_shows_the_numbers_and_what_is_not_resolved():
    found = limit(SHORT, error=0.03)
    axes = plotting.excess(found).axes[0]
    solid = next(line for line in axes.lines if line.get_label().startswith("at most"))
    expected = np.array([0.1 * 10 ** (a / 10) for a in SHORT])
    errors = np.array([0.03 * np.linalg.norm(sol.X) * np.sqrt(3) / 2 for sol in found.solutions])
    assert 0 < np.sum(expected > errors) < 4
    np.testing.assert_allclose(solid.get_ydata(), expected[expected > errors], rtol=1e-9)


def test_rungs_that_failed_are_crossed_out():
    for draw in (plotting.nuclear_norm, plotting.excess):
        axes = draw(limit(SHORT, last=RESULTS.not_stationary)).axes[0]
        (cross,) = [line for line in axes.lines if line.get_label() == "not converged"]
        assert len(cross.get_xdata()) == 1
        assert not [
            line for line in draw(limit(SHORT)).axes[0].lines if line.get_label() == "not converged"
        ]


def test_eigenvalues_show_the_numbers():
    axes = plotting.eigenvalues(limit(SHORT)).axes[0]
    lines = sorted((line.get_ydata() for line in axes.lines), key=lambda y: y[-1])
    np.testing.assert_allclose(lines[0], [np.log10(0.2) + a / 10 for a in SHORT], atol=1e-12)
    np.testing.assert_allclose(lines[-1], np.log10(1.5), atol=1e-12)


def test_eigenvalues_below_rounding_are_left_out():
    found = limit((-2.0, -4.0, -300.0))
    lines = plotting.eigenvalues(found).axes[0].lines
    smallest = next(line.get_ydata() for line in lines if np.isnan(line.get_ydata()[-1]))
    assert np.all(np.isfinite(smallest[:2]))


def test_path_shows_the_numbers():
    top, middle, bottom = plotting.path(solution([1.5, 0.5], -2, times=TIMES)).axes
    grown = 1 - np.exp(-TIMES)
    np.testing.assert_allclose(top.lines[0].get_ydata(), 1 - grown, atol=1e-12)
    np.testing.assert_allclose(middle.lines[0].get_ydata(), 2 * grown, atol=1e-12)
    highest = max(bottom.lines, key=lambda line: line.get_ydata()[-1])
    np.testing.assert_allclose(highest.get_ydata(), 1.5 * grown, atol=1e-12)
    assert power(-2.0) in top.get_title()


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    for draw in FIGURES.values():
        draw()
    assert dict(matplotlib.rcParams) == before


nameless = eqx.tree_at(lambda found: found.log10_alphas, limit((-1.0,)), jnp.array([jnp.nan]))


@pytest.mark.parametrize(
    ("draw", "found", "message"),
    [
        (plotting.nuclear_norm, 3, "`found` must be a Limit"),
        (plotting.excess, "report", "`found` must be a Limit"),
        (plotting.path, solution([1.0, 1.0], -2), "saveat=times"),
        (plotting.eigenvalues, solution([1.0, 1.0], -2), "saveat=times"),
        (plotting.excess, limit(SHORT, bound=0.0), "positive finite lower bound"),
        (plotting.excess, limit(SHORT, bound=float("inf")), "positive finite lower bound"),
        (plotting.nuclear_norm, nameless, "starts at 0"),
    ],
)
def test_what_cannot_be_drawn(draw, found, message):
    draw = getattr(draw, "__wrapped__", draw)
    with pytest.raises(ValueError, match=message):
        draw(found)


def test_without_matplotlib_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install 'implicit_flow"):
        plotting.nuclear_norm(limit(SHORT))
