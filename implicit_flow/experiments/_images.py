"""The images that the experiments on networks are trained on, by name."""

from pathlib import Path
from typing import Any

from .. import _checks
from ..networks import cifar10, digits, mnist


def images(data: str, data_dir: str | Path | None) -> Any:
    """Load images as vectors.

    Args:
        data: "digits" (bundled with scikit-learn), "mnist" or "cifar10".
        data_dir: where the files of MNIST or CIFAR-10 are.

    Returns:
        The images, flat.

    Raises:
        ValueError: another name, or a folder without the files.
    """
    _checks.instance(data, "data", str)
    if data_dir is not None:
        _checks.instance(data_dir, "data_dir", (str, Path))
    if data == "digits":
        return digits().flat()
    loaders = {"mnist": mnist, "cifar10": cifar10}
    if data not in loaders:
        _checks.refuse("data", "be digits, mnist or cifar10", f"is {data!r}")
    if data_dir is None:
        _checks.refuse("data_dir", f"name the folder with {data}", "is None")
    return loaders[data](data_dir).flat()
