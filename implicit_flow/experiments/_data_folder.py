"""The folder of data that an experiment may need, by the name of the data."""

from collections.abc import Sequence
from pathlib import Path

from .. import _checks


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
