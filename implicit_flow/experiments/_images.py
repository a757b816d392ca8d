"""The images that the experiments on networks are trained on, by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import _checks
from ..networks import cifar10, digits, mnist


def check_folder(
    argument: str,
    name: str,
    data_dir: str | Path | None,
    *,
    bundled: Sequence[str],
    on_disk: Sequence[str],
) -> None:
    """Refuse a name that is none, data without their folder, and a folder that nobody reads.

    Args:
        argument: what the name is called.
        name: of the data.
        data_dir: where they are.
        bundled: names of data that come without a folder.
        on_disk: names of data that are read from one.

    Raises:
        ValueError: any of these.
    """
    _checks.instance(name, argument, str)
    if name not in (*bundled, *on_disk):
        *others, last = *bundled, *on_disk
        _checks.refuse(argument, f"be {', '.join(others)} or {last}", f"is {name!r}")
    if data_dir is None:
        if name in on_disk:
            _checks.refuse("data_dir", f"name the folder with {name}", "is None")
        return
    _checks.instance(data_dir, "data_dir", (str, Path))
    if name in bundled:
        _checks.refuse("data_dir", f"be left out with {name}", f"is {str(data_dir)!r}")


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
