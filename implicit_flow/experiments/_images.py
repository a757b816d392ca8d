"""The images that the experiments on networks are trained on, by name."""

from pathlib import Path
from typing import Any

from ..networks import cifar10, digits, mnist
from ._data_folder import check_folder


def images(data: str, data_dir: str | Path | None) -> Any:
    """Load images as vectors.

    Args:
        data: "digits" (bundled with scikit-learn), "mnist" or "cifar10".
        data_dir: where the files of MNIST or CIFAR-10 are.

    Returns:
        The images, flat.

    Raises:
        ValueError: another name, a folder without the files, or a folder for the digits.
    """
    check_folder("data", data, data_dir, bundled=("digits",), on_disk=("mnist", "cifar10"))
    if data_dir is None:
        return digits().flat()
    return {"mnist": mnist, "cifar10": cifar10}[data](data_dir).flat()
