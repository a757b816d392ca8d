"""`implicit-flow info`: what is installed, and what it runs on."""

import importlib.metadata
import platform
from pathlib import Path

import typer

from .._version import __version__


# Distribution names, those of the optional extras last.
PACKAGES = (
    "jax",
    "jaxlib",
    "diffrax",
    "equinox",
    "optax",
    "optimistix",
    "lineax",
    "numpy",
    "scipy",
    "clarabel",
    "typer",
    "rich",
    "xarray",
    "zarr",
    "h5netcdf",
    "matplotlib",
    "scikit-learn",
)


def info() -> None:
    """Show versions, devices and precision."""
    import jax

    jax.config.update("jax_enable_x64", True)
    width = max(map(len, ("implicit_flow", *PACKAGES)))

    def line(name: str, value: str) -> None:
        typer.echo(f"{name:<{width}}  {value}")

    line("implicit_flow", f"{__version__} in {Path(__file__).resolve().parent.parent}")
    line("python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    for name, version in versions().items():
        line(name, version)
    for device in jax.devices():
        line("device", f"{device.device_kind} ({device.platform}, id {device.id})")
    line("precision", f"{jax.numpy.zeros(()).dtype} (the command line turns on 64 bits for itself)")


def versions() -> dict[str, str]:
    """The versions of the packages that results may depend on.

    Returns:
        Distribution name -> version, or "not installed".
    """
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
