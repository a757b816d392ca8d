"""Tables and margins against closed forms; polygons, labels and lines against definitions."""

import numpy as np


def check(ds):
    # Every table is represented, with as many units as it has true rows at most.
    to = ds.attrs["all_tables_to"]
    for d in ds.d.values:
        row = ds.sel(d=d)
        assert int(row.tables_tried) == (2**2**d if d <= to else 64)
        assert int(row.tables_right) == int(row.tables_tried)
        assert int(row.most_units) <= 2**d
    assert int(ds.wrong_side.sum()) == 0
    # The picture agrees with the polygons themselves, away from their sides.
    x, y = np.meshgrid(ds.x.values, ds.y.values)
    places = np.stack([x, y], axis=-1)
    slack = np.einsum("pfa,yxa->yxpf", ds.normals.values, places) - ds.offsets.values
    inside = (slack >= 0).all(axis=-1).any(axis=-1)
    outside = (np.maximum(-slack, 0).sum(axis=-1) >= 0.02).all(axis=-1)
    assert np.all(ds.image.values[inside] > 0)
    assert np.all(ds.image.values[outside] < 0)
    assert inside.any()
    assert outside.any()

    # A margin lies between its bounds; the quadratic program is solved to 1e-6 of it, or, where
    # the kernel matrix has lost digits, to that loss.
    low, high = ds.margin_at_least, ds.margin_at_most
    assert bool((low <= high * (1 + 1e-9)).all())
    assert float((1 - low / high).max()) < 1e-5
    # Parity is an eigenvector of the Gaussian kernel, a product over the inputs: with sigma^2 = d
    # the margin is ((1 - exp(-2 / d)) / 2)^(d/2).
    exact = ((1 - np.exp(-2 / ds.d.values)) / 2) ** (ds.d.values / 2)
    found, above = (one.sel(function="parity", kernel="Gaussian").values for one in (low, high))
    # The bounds hold but for rounding; how far they are apart is theirs to say.
    assert np.all(found <= exact * (1 + 1e-9))
    assert np.all(exact <= above * (1 + 1e-9))
    # A network of d units loses a power of d: here at most like d^-2.
    ratio = float(ds.network_margin[-1] / ds.network_margin[0])
    assert ratio > (float(ds.d[0]) / float(ds.d[-1])) ** 2.5
    assert ratio > 5 * float(found[-1] / found[0])

    # N units have any N labels. Rounding grows with the slopes that neighbors on the line need.
    assert float(ds.remembered_error.max()) < 1e-6
    fitted = ds.fitted.mean("draw")
    assert float(fitted[-1]) == 1.0
    assert float(fitted[0]) < 1.0

    # Affine in w: a sum of convex functions of affine ones. Not affine: z or -z bends down.
    share = ds.share_not_convex.max("loss")
    for name, affine in zip(ds.predictor.values, ds.is_affine.values, strict=True):
        assert (float(share.sel(predictor=name)) > 0) == (affine == 0)
    lines = ds.share_not_convex.sel(loss=["z", "-z"]).where(ds.is_affine == 0, drop=True)
    # Each line bends one way or the other; both where it does so at different places.
    assert float(lines.sum("loss").min()) >= 1 - 1e-12
