"""Sizes that cannot be, and the references of the experiments on vectors."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from implicit_flow import experiments
from implicit_flow.experiments._divergences import geometries, nearest
from implicit_flow.experiments._steepest import NORMS, smoothness, steepest_descent


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("least-norm", {"num_measurements": 60}, "`num_measurements` must be at most 59"),
        ("least-norm", {"matrix_measurements": 55}, "`matrix_measurements` must be at most 54"),
        ("least-norm", {"dim": 0}, "`dim` must be at least 2"),
        ("least-norm", {"setting": "quik"}, "`setting` must be one of tiny, quick, full"),
        ("geometry", {"num_measurements": 20}, "`num_measurements` must be below dim = 20"),
        ("geometry", {"powers": (3.0,)}, "`powers` must lie between 1.02 and 2"),
        ("geometry", {"steps": (2.0,)}, "`steps` must lie between 0 and 1"),
        ("geometry", {"integrated": ("entropi",)}, "`integrated` must name some of"),
        ("sparse", {"ratios": (1.5,)}, "`ratios` must lie between 0 and 1"),
        ("sparse", {"sparsities": (0.0,)}, "`sparsities` must lie between 0 and 1"),
        ("sparse", {"log10_alpha": 2.0}, "`log10_alpha` must be at most -3"),
        ("kernel-and-rich", {"num_measurements": 20}, "`num_measurements` must be below"),
        ("kernel-and-rich", {"sparsity": 11}, "`sparsity` must be at most num_measurements"),
        ("kernel-and-rich", {"depths": (1,)}, "`depths` must hold at least 2"),
        ("kernel-and-rich", {"log10_alphas": (-1.0, 0.0)}, "`log10_alphas` must decrease"),
        ("one-pass-sgd", {"trials": 1}, "`trials` must be at least 2"),
        ("one-pass-sgd", {"population": 3}, "`population` must be at least 60"),
        ("one-pass-sgd", {"problems": ("routes",)}, "`problems` must name some of"),
    ],
)
def test_impossible_sizes(name, sizes, message):
    with pytest.raises(ValueError, match=message):
        experiments.load(name).run(**sizes)


def test_steepest_descent_is_steepest():
    # Among all steps of the same norm none goes down further along the gradient.
    rng = np.random.default_rng(0)
    orders = {"l1": 1, "l2": 2, "linf": np.inf}
    gradient = jnp.asarray(rng.normal(size=5))
    for norm in NORMS:
        optimizer = steepest_descent(norm, 0.1)
        step, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
        length = np.linalg.norm(step, orders[norm])
        dual = {"l1": np.inf, "l2": 2, "linf": 1}[norm]
        np.testing.assert_allclose(length, 0.1 * np.linalg.norm(gradient, dual), rtol=1e-12)
        for other in rng.normal(size=(200, 5)):
            other *= length / np.linalg.norm(other, orders[norm])
            assert gradient @ other >= gradient @ step - 1e-12


def test_smoothness_bounds_the_quadratic():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(3, 5))
    for norm, order in (("l1", 1), ("l2", 2), ("linf", np.inf)):
        bound = float(smoothness(A, norm))
        for v in rng.normal(size=(200, 5)):
            assert np.sum((A @ v) ** 2) <= bound * np.linalg.norm(v, order) ** 2 * (1 + 1e-12)


def test_the_nearest_points_against_closed_forms():
    A, y = np.array([[1.0, 2.0]]), np.array([1.0])
    kinds = geometries(0.1, 0.1, (1.5,))
    # Of least norm: x = A' y / |A|^2.
    np.testing.assert_allclose(nearest(A, y, kinds["quadratic"]), [0.2, 0.4], rtol=1e-9)
    # x_i = 0.1 z^{a_i} with 0.1 z + 0.2 z^2 = 1.
    z = (-0.1 + np.sqrt(0.01 + 0.8)) / 0.4
    np.testing.assert_allclose(nearest(A, y, kinds["entropy"]), [0.1 * z, 0.1 * z**2], rtol=1e-9)
    # |x_i|^(p - 1) proportional to a_i: x proportional to a^2 for p = 3/2.
    np.testing.assert_allclose(nearest(A, y, kinds["1.5-norm"]), [1 / 9, 4 / 9], rtol=1e-9)
    # 0.1 (sinh(t) + 2 sinh(2 t)) = 1.
    x = nearest(A, y, kinds["hypentropy"])
    t = np.arcsinh(x[0] / 0.1)
    np.testing.assert_allclose([x[1], x[0] + 2 * x[1]], [0.1 * np.sinh(2 * t), 1], rtol=1e-9)


def test_an_exponent_that_too_few_alphas_show_decides_nothing():
    excess = np.array([[0.5, 0.1, 0.05], [0.4, 0.02, 1e-12]])
    ds = xarray.Dataset(
        {
            "l1_excess": (("depth", "log10_alpha"), excess),
            "l2_excess": (("depth", "log10_alpha"), np.zeros((2, 3))),
            "flow_distance": (("depth", "flow_log10_alpha"), np.full((2, 1), 1e-9)),
            "flow_error_estimate": (("depth", "flow_log10_alpha"), np.full((2, 1), 1e-8)),
        },
        coords={"depth": [2, 3], "log10_alpha": [2.0, 0.0, -4.0], "flow_log10_alpha": [-1.0]},
        attrs={"l1_gap": 0.0, "num_flows": 1},
    )
    kernel_and_rich = experiments.load("kernel-and-rich")
    assert np.isnan(kernel_and_rich.slope(ds)[3])
    found = kernel_and_rich._outcome(ds)
    assert found["outcome"] == "undecided"
    assert "nan" not in found["outcome_text"]
    # With one more that shows it, it is decided by the numbers.
    excess[1] = [0.02, 2e-4, 2e-8]
    assert kernel_and_rich._outcome(ds)["outcome"] == "holds"
