"""A step of Path-SGD against a step of SGD, as ratios in one run.

`python benchmarks/test_path_sgd.py` measures, prints, and writes `benchmarks/results/path_sgd.json`
(`path_sgd_gpu.json` on an accelerator). Under pytest only the memory is checked, which does not
depend on how busy the machine is.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

from implicit_flow.networks import MLP, RNN, path_sgd


def feedforward(width):
    """The published network: 784-width-width-10, batch 100, float32."""
    network = MLP((784, width, width, 10), key=jax.random.key(0), dtype=jnp.float32)
    inputs = jax.random.normal(jax.random.key(1), (100, 784), jnp.float32)
    labels = jnp.arange(100, dtype=jnp.int32) % 10
    return network, (784,), inputs, labels


def recurrent(width):
    """Characters: 27 symbols, length 50, batch 32, float32."""
    network = RNN(27, width, 27, key=jax.random.key(0), dtype=jnp.float32)
    tokens = jax.random.randint(jax.random.key(1), (32, 51), 0, 27)
    shape = jax.ShapeDtypeStruct((50,), jnp.int32)
    return network, shape, tokens[:, :-1], tokens[:, 1:]


def compiled_step(network, optimizer, inputs, labels):
    """One training step that updates parameters and state in place, and its arguments."""
    params, rest = eqx.partition(network, eqx.is_inexact_array)
    params = jax.tree.map(jnp.copy, params)
    state = optimizer.init(params)

    def loss(params):
        outputs = jax.vmap(eqx.combine(params, rest))(inputs)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()

    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    program = jax.jit(step, donate_argnums=(0, 1)).lower(params, state).compile()
    return program, (params, state)


def one_example(network, inputs, labels):
    """A forward and backward pass on a single example, parameters kept."""
    params, rest = eqx.partition(network, eqx.is_inexact_array)

    def loss(params):
        outputs = eqx.combine(params, rest)(inputs[0])
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels[0]).mean()

    return jax.jit(jax.grad(loss)).lower(params).compile(), params


def footprint(program):
    """Bytes moved, and bytes of memory beyond arguments and results."""
    costs = program.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    memory = program.memory_analysis()
    return {
        "bytes_accessed": float(costs["bytes accessed"]),
        "temporary_bytes": int(memory.temp_size_in_bytes),
        "argument_bytes": int(memory.argument_size_in_bytes),
    }


def compare(network, shape, inputs, labels, *, rounds, steps, rate):
    """Times the steps in turns, so that a busy machine disturbs all of them alike."""
    optimizers = {
        "sgd": optax.sgd(rate),
        "path_sgd": path_sgd(rate, network, input_shape=shape),
        "path_sgd_every_5": path_sgd(rate, network, input_shape=shape, update_every=5),
    }
    programs, carries = {}, {}
    for name, optimizer in optimizers.items():
        programs[name], carries[name] = compiled_step(network, optimizer, inputs, labels)
    single, params = one_example(network, inputs, labels)
    seconds = {name: [] for name in (*programs, "one_example")}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            for _ in range(steps):
                carries[name] = program(*carries[name])
            jax.block_until_ready(carries[name])
            if turn:
                seconds[name].append((time.perf_counter() - start) / steps)
        start = time.perf_counter()
        for _ in range(steps):
            result = single(params)
        jax.block_until_ready(result)
        if turn:
            seconds["one_example"].append((time.perf_counter() - start) / steps)
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return summary(seconds, programs, parameters)


def summary(seconds, programs, parameters):
    def ratio(name, base):
        pairs = zip(seconds[name], seconds[base], strict=True)
        return statistics.median(a / b for a, b in pairs)

    extra = [(path - sgd) for path, sgd in zip(seconds["path_sgd"], seconds["sgd"], strict=True)]
    return {
        "parameter_bytes": parameters,
        "seconds_median": {name: statistics.median(values) for name, values in seconds.items()},
        "seconds_best": {name: min(values) for name, values in seconds.items()},
        "ratio_to_sgd_median_of_rounds": {name: ratio(name, "sgd") for name in programs},
        "ratio_to_sgd_best": {name: min(seconds[name]) / min(seconds["sgd"]) for name in programs},
        "extra_time_in_one_example_passes": statistics.median(extra)
        / statistics.median(seconds["one_example"]),
        "footprint": {name: footprint(program) for name, program in programs.items()},
    }


def machine():
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "jax": jax.__version__,
        "dtype": "float32",
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--rnn-width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    result = {
        "command": "python benchmarks/test_path_sgd.py "
        f"--width {arguments.width} --rnn-width {arguments.rnn_width} "
        f"--rounds {arguments.rounds} --steps {arguments.steps}",
        "machine_before": machine(),
    }
    # Small steps: the parameters must stay finite for hundreds of them.
    for name, parts in (
        ("mlp", feedforward(arguments.width)),
        ("rnn", recurrent(arguments.rnn_width)),
    ):
        result[name] = compare(*parts, rounds=arguments.rounds, steps=arguments.steps, rate=1e-4)
    result["machine_after"] = machine()
    accelerated = result["machine_before"]["platform"] != "cpu"
    name = "path_sgd_gpu.json" if accelerated else "path_sgd.json"
    path = Path(__file__).parent / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


@pytest.mark.parametrize("kind", [feedforward, recurrent])
def test_no_more_than_one_extra_copy_of_the_parameters(kind):
    network, shape, inputs, labels = kind(512)
    found = compare(network, shape, inputs, labels, rounds=1, steps=1, rate=1e-4)
    plain = found["footprint"]["sgd"]
    for name in ("path_sgd", "path_sgd_every_5"):
        use = found["footprint"][name]
        stored = use["argument_bytes"] - plain["argument_bytes"]
        extra = use["temporary_bytes"] - plain["temporary_bytes"] + stored
        # Beyond the copy: the counter of the steps, and padding.
        assert extra <= found["parameter_bytes"] + 1024


if __name__ == "__main__":
    main()
