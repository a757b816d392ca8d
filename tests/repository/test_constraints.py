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


def test_what_is_installed_is_what_is_pinned():
    """Else the test above has looked at nothing."""
    installed = {
        found.metadata["Name"].lower(): found.version for found in metadata.distributions()
    }
    known = [name for name, _ in PINS if name.lower() in installed]
    assert len(known) > len(PINS) // 2
    assert [name for name, pin in PINS if installed.get(name.lower(), pin) != pin] == []
