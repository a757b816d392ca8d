"""The sources, as the laws of the repository read them."""

import pathlib
import subprocess

import pytest


ROOT = pathlib.Path(__file__).parents[2]


def tracked(root):
    """The files under version control; in an unpacked archive, all that belong to it."""
    listing = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    names = listing.stdout.splitlines() if listing.returncode == 0 else []
    if not names:
        names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
        names = [n for n in names if not n.startswith(".") and "__pycache__" not in n]
    return sorted(name for name in names if (root / name).is_file())


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def files():
    """Names of all files, from the root."""
    return tracked(ROOT)


@pytest.fixture(scope="session")
def sources(files):
    """Name -> text, for the Python files of the package."""
    return {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in files
        if name.startswith("implicit_flow/") and name.endswith(".py")
    }
