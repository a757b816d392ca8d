"""The versions in `constraints.txt` install on every Python that the package promises."""

import pathlib
import tomllib
from importlib import metadata

import pytest
from packaging.specifiers import SpecifierSet


ROOT = pathlib.Path(__file__).parents[2]
PINS = [line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split()]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OLDEST = PROJECT["requires-python"].removeprefix(">=") + ".0"


@pytest.mark.parametrize(("name", "pinned"), PINS, ids=[name for name, _ in PINS])
def test_a_pin_is_for_the_oldest_python(name, pinned):
    try:
        facts = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        # Some packages are for other platforms than this one.
        return
    if facts["Version"] == pinned:
        assert SpecifierSet(facts["Requires-Python"] or "").contains(OLDEST)
