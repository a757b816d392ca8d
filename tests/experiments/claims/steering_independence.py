"""Ends of the commuting pair against NumPy's Newton method on the convex dual."""

import numpy as np


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    assert np.all(ds.residual_norm < 1e-6)
    for instance in range(ds.sizes["instance"]):
        one = ds.isel(angle=0, instance=instance)
        A, y = one.A.values, one.targets.values
        basis = np.linalg.eigh(A[0] + np.pi * A[1])[1]
        spectra = np.einsum("ji,kjl,li->ki", basis, A, basis)
        for k, log10_alpha in enumerate(ds.log10_alpha.values):
            x = least_dual(spectra, y, log10_alpha * np.log(10))
            X = (basis * x) @ basis.T
            exact = ds.closed_form.isel(instance=instance, log10_alpha=k).values
            np.testing.assert_allclose(exact, X, rtol=0, atol=1e-9 * np.linalg.norm(X))
            for s in range(ds.sizes["steering"]):
                cell = one.isel(log10_alpha=k, steering=s)
                allowed = float(cell.error_estimate) + 1e-8
                assert np.linalg.norm(cell.X - X) <= allowed * np.linalg.norm(X)
    # Norms and distances are those of the X that are kept, and none that fits is below the least.
    np.testing.assert_allclose(np.einsum("ailsrr->ails", ds.X), ds.nuclear_norm, rtol=1e-6)
    assert bool((ds.nuclear_norm >= ds.least_nuclear_norm * (1 - 1e-5)).all())
    away = np.linalg.norm(ds.X - ds.X.isel(steering=0), axis=(-2, -1))
    size = np.linalg.norm(ds.X, axis=(-2, -1))
    np.testing.assert_allclose(ds.distance_to_squared, away / size, rtol=1e-6, atol=1e-12)
    X, exact = ds.X.values, ds.closed_form.values[:, :, None]
    pairs = np.linalg.norm(X[:, :, :, :, None] - X[:, :, :, None], axis=(-2, -1))
    np.testing.assert_allclose(ds.spread, pairs.max((-2, -1)) / size[..., 0], rtol=1e-9, atol=1e-14)
    off = np.linalg.norm(X[0] - exact, axis=(-2, -1)) / np.linalg.norm(exact, axis=(-2, -1))
    np.testing.assert_allclose(ds.distance_to_closed_form, off, rtol=1e-9, atol=1e-14)
    one, two = ds.A.values[:, :, 0], ds.A.values[:, :, 1]
    sizes = np.linalg.norm(one, axis=(-2, -1)) * np.linalg.norm(two, axis=(-2, -1))
    bracket = np.linalg.norm(one @ two - two @ one, axis=(-2, -1)) / sizes
    np.testing.assert_allclose(ds.commutator, bracket, rtol=1e-9, atol=1e-14)
    # Elsewhere the ends are apart by far more than any of them may be wrong, at every alpha.
    turned = ds.isel(angle=slice(1, None))
    others = turned.distance_to_squared.isel(steering=slice(1, None))
    assert np.all(others > 100 * turned.error_estimate.max("steering"))
    # And all of them fit: it is the choice among the fitting that differs.
    fit = np.einsum("aikrc,ailsrc->ailsk", turned.A.values, turned.X.values)
    np.testing.assert_allclose(fit - turned.targets.values[:, :, None, None], 0, atol=1e-5)
    fit = np.einsum("aikrc,ailsrc->ailsk", ds.A.values, X)
    missed = np.linalg.norm(fit - ds.targets.values[:, :, None, None], axis=-1)
    missed /= np.linalg.norm(ds.targets.values, axis=-1)[:, :, None, None]
    np.testing.assert_allclose(ds.residual_norm, missed, rtol=1e-4, atol=1e-14)


def least_dual(B, y, log_alpha):
    """x = alpha e^{2 B's} with B x = y: damped Newton steps on a convex function of s."""
    s = np.zeros(len(y))
    value = lambda s: 0.5 * np.sum(np.exp(np.minimum(log_alpha + 2 * s @ B, 600))) - y @ s
    for _ in range(2000):
        x = np.exp(log_alpha + 2 * s @ B)
        gradient = B @ x - y
        # The ridge keeps early steps finite, where x is tiny.
        step = np.linalg.solve(2 * (B * x) @ B.T + 1e-9 * np.eye(len(y)), gradient)
        step *= min(1, 1 / np.max(np.abs(2 * step @ B)))
        while value(s - step) > value(s) + 1e-13 * abs(value(s)):
            step /= 2
        s = s - step
        if np.linalg.norm(gradient) < 1e-12 * np.linalg.norm(y):
            break
    return np.exp(log_alpha + 2 * s @ B)
