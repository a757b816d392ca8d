"""A sweep in a process of its own, to be killed, starved or interrupted by the tests.

Usage: python study_process.py STORE [--processes N --process I --port P] [--seeds S]
"""

import argparse
import json
import signal
import sys

import jax
import jax.numpy as jnp
from jax import lax


AXES = {"x": [0.5, 1.0, 1.5], "seed": range(16)}
CHUNK_SIZE = 2


def slow_cell(x, seed, key):
    """About ten milliseconds of work that depends on every digit before it."""
    noise = jax.random.normal(key) + seed.astype(float)
    end = lax.fori_loop(0, 500_000, lambda _, value: jnp.sin(value) + x, noise)
    return {"end": end, "path": jnp.stack([noise, end])}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=len(AXES["seed"]))
    parser.add_argument("--pad", type=int, default=0, help="bytes added to each cell's result")
    arguments = parser.parse_args()
    # As on a terminal, whatever started the tests: a shell's background jobs inherit deafness to
    # SIGINT, and Python keeps it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", arguments.devices)
    if arguments.processes > 1:
        jax.distributed.initialize(
            f"localhost:{arguments.port}", arguments.processes, arguments.process
        )

    from implicit_flow import sweeps

    axes = {**AXES, "seed": range(arguments.seeds)}
    threads = 2 if arguments.devices == 1 else None
    function = slow_cell
    if arguments.pad:

        def function(x, seed):
            return {"pad": jnp.full((arguments.pad // 8,), x + seed.astype(float))}

    print("ready", flush=True)
    try:
        ds = sweeps.sweep(
            function, axes, store=arguments.store, chunk_size=CHUNK_SIZE, threads=threads
        )
    except OSError as error:
        # The file system may vanish with this process, so it is looked at here.
        status = sweeps.status(arguments.store)
        whole = sweeps.load(arguments.store).load()
        print(
            json.dumps(
                {
                    "error": str(error),
                    "done": status.done,
                    "damaged": status.damaged,
                    "right": int((whole["pad"][..., 0] == whole["x"] + whole["seed"]).sum()),
                }
            )
        )
        sys.exit(3)
    print(json.dumps({"pending": int(sweeps.pending(ds).sum())}), flush=True)


if __name__ == "__main__":
    main()
