"""Where a sweep runs: which devices, how many host threads, and which share of the blocks."""

from dataclasses import dataclass
from typing import final

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from .._cores import cores


@final
@dataclass(frozen=True)
class Placement:
    """This process's part of the hardware.

    JAX shows a CPU as one device however many cores it has. The cores are used by host threads
    that call one compiled program; where there are several devices, `shard_map` uses them.
    """

    mesh: Mesh
    threads: int
    process: int
    processes: int

    @property
    def platform(self) -> str:
        return self.mesh.devices.flat[0].platform

    @property
    def workers(self) -> int:
        """The number of cells, or groups of lanes, that advance at the same time."""
        return self.threads * self.mesh.size

    def describe(self) -> str:
        """One line for people."""
        kind = self.mesh.devices.flat[0].device_kind
        where = f"{self.mesh.size} x {kind} ({self.platform})"
        threads = f", {self.threads} host threads" if self.threads > 1 else ""
        share = f", process {self.process + 1} of {self.processes}" if self.processes > 1 else ""
        return where + threads + share


def place(mesh: Mesh | None, threads: int | None) -> Placement:
    """Finds the devices of this process and the threads to drive them with.

    Args:
        mesh: devices to use; all local devices if None. Of a mesh that spans processes, each
            process uses its own part.
        threads: host threads; if None, one for each core on a one-device CPU, else one.

    Returns:
        The placement.

    Raises:
        ValueError: if the mesh has no device of this process.
    """
    if mesh is None:
        devices = jax.local_devices()
    else:
        devices = [
            device for device in mesh.devices.flat if device.process_index == jax.process_index()
        ]
        if not devices:
            raise ValueError(
                "Argument `mesh` must hold a device of every process, but has none of process "
                f"{jax.process_index()}. Build it from jax.devices(), or leave it out."
            )
    local = Mesh(np.asarray(devices), ("cells",), axis_types=(AxisType.Auto,))
    if threads is None:
        alone = len(devices) == 1 and devices[0].platform == "cpu"
        threads = cores() if alone else 1
    return Placement(local, threads, jax.process_index(), jax.process_count())
