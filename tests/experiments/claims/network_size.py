"""No theorem decides this one: the outcome must be the one that its own numbers say."""


def check(ds):
    fitted = (ds.train_error == 0).all("seed")
    assert ds.attrs["outcome"] in ("holds", "fails") or int(fitted.sum()) < 2
    if ds.attrs["outcome"] == "holds":
        error = ds.test_error.mean("seed").where(fitted, drop=True)
        spread = float(ds.test_error.where(fitted, drop=True).std("seed").max())
        assert float(error[-1]) <= float(error[0]) + spread
