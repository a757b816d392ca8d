"""What every cell is, however it was computed."""

import functools
import json
import re
import subprocess
import sys

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from jax import lax

import implicit_flow as imf
from implicit_flow import RESULTS, sweeps


def draw(a, seed, key):
    """Values that differ in every cell, and a draw."""
    noise = jax.random.normal(key, (2,))
    return {"mixed": jnp.sin(a) * noise[0] + seed.astype(float), "noise": noise}


AXES = {"a": [0.1, 0.2, 0.3], "seed": range(5)}
bare = functools.partial(sweeps.sweep, progress=False)


def without_clock(dataset):
    return dataset.drop_vars("seconds").load()


@pytest.fixture(scope="module")
def reference():
    return without_clock(bare(draw, AXES, chunk_size=15, threads=1))


def test_top_level_name():
    assert imf.sweep is sweeps.sweep


def test_values_are_those_of_a_plain_loop():
    ds = bare(lambda a, seed: {"x": a ** (seed + 1).astype(float)}, AXES)
    for a in AXES["a"]:
        for seed in AXES["seed"]:
            # A power by another algorithm: a few units in the last place.
            expected = np.prod([a] * (seed + 1))
            assert ds["x"].sel(a=a, seed=seed).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_size": 1, "threads": 2},
        {"chunk_size": 4, "threads": 3},
        {"chunk_size": 15, "cost": lambda a, seed: -a * seed},
        {"chunk_size": 5, "cost": lambda a, seed: float(seed)},
        {"static": ("seed",)},
    ],
    ids=lambda options: "-".join(options),
)
def test_bits_do_not_depend_on_how_cells_are_run(options, reference):
    function = draw
    if "static" in options:

        def function(a, seed, key):
            return draw(a, jnp.asarray(seed), key)

    ds = without_clock(bare(function, AXES, **options))
    xarray.testing.assert_identical(ds.drop_attrs(), reference.drop_attrs())


@pytest.mark.parametrize("strategy", [sweeps.Lanes(), sweeps.Lanes(4)])
def test_lanes_agree_to_rounding(strategy, reference):
    ds = bare(draw, AXES, strategy=strategy, cost=lambda a, seed: a + seed)
    # The draws are integers in disguise and must be equal; sin and products may round otherwise.
    xarray.testing.assert_equal(ds["noise"], reference["noise"])
    np.testing.assert_allclose(ds["mixed"], reference["mixed"], rtol=1e-14)


def test_draws_belong_to_the_cell(reference):
    part = bare(draw, {"seed": [3, 9, 1], "a": [0.3]})
    for seed in (1, 3):
        xarray.testing.assert_equal(
            part["noise"].sel(a=0.3, seed=seed), reference["noise"].sel(a=0.3, seed=seed)
        )
    draws = reference["noise"].values.reshape(-1)
    assert np.unique(draws).size == draws.size


def test_no_key_without_a_parameter_for_it():
    def nosy(**cell):
        assert "key" not in cell
        return {"x": cell["a"]}

    assert bare(nosy, {"a": [1.0]})["x"].item() == 1.0


def test_one_trace_for_each_static_group(tmp_path):
    traces = []

    def cell(a, m):
        traces.append(m)
        return {"norm": a * jnp.linalg.norm(jnp.ones(m))}

    ds = bare(cell, {"m": [3, 5], "a": [1.0, 2.0, 3.0]}, static=("m",), chunk_size=2, threads=2)
    assert sorted(traces) == [3, 5]
    np.testing.assert_allclose(ds["norm"], np.sqrt([[3.0], [5.0]]) * [[1.0, 2.0, 3.0]], rtol=1e-15)


def halve(a, steps):
    """Diffrax on dy/dt = -a y; fails where it is given too few steps."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: -args * y),
        diffrax.Tsit5(),
        t0=0.0,
        t1=1.0,
        dt0=None,
        y0=jnp.asarray(1.0),
        args=a,
        stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10),
        max_steps=steps,
        throw=False,
    )
    return {"end": solution.ys[0], "result": RESULTS.promote(solution.result)}


def test_result_codes_are_stored_with_their_messages():
    ds = bare(halve, {"a": [0.5, 1.0, 200.0], "steps": [12, 2000]}, static=("steps",))
    failed = sweeps.failed(ds)
    assert failed.sel(steps=2000).values.tolist() == [False, False, False]
    assert failed.sel(a=200.0, steps=12).item()
    message = sweeps.messages(ds).sel(a=200.0, steps=12).item()
    assert message == RESULTS[RESULTS.max_steps_reached]
    good = ds["end"].sel(steps=2000)
    np.testing.assert_allclose(good[:2], np.exp(-ds["a"][:2]), rtol=1e-7)
    # A stranger can read the codes without this library: the flags convention of CF.
    flags = dict(
        zip(
            ds["result"].attrs["flag_meanings"].split(),
            ds["result"].attrs["flag_values"],
            strict=True,
        )
    )
    assert flags["max_steps_reached"] == ds["result"].sel(a=200.0, steps=12).item()
    assert flags["successful"] == 0


def test_every_answer_of_the_library_counts_as_one():
    names = ["successful", "stationary", "vanished", "event_occurred", "max_steps_reached",
             "norm_diverges", "tolerance_not_met", "invalid_input"]  # fmt: skip
    items = [getattr(RESULTS, name) for name in names]

    def cell(which):
        result = items[0]
        for position, item in enumerate(items):
            result = RESULTS.where(which == position, item, result)
        return {"x": which, "how": result}

    ds = bare(cell, {"which": range(len(names))})
    expected = [name not in names[:4] for name in names]
    assert sweeps.failed(ds).values.tolist() == expected


class Mood(eqx.Enumeration):
    fine = ""
    grim = "Cheer up."


def test_a_users_own_enumeration():
    def cell(a):
        return {"mood": Mood.where(a > 1.5, Mood.grim, Mood.fine)}

    ds = bare(cell, {"a": [1.0, 2.0]})
    assert sweeps.failed(ds).values.tolist() == [False, True]
    assert sweeps.messages(ds).values.tolist() == ["fine", "Cheer up."]
    with pytest.raises(ValueError, match="at most one result code"):
        bare(lambda a: {"one": Mood.fine, "two": Mood.grim}, {"a": [1.0]})


def test_nan_is_a_failure_unless_it_is_an_answer():
    def cell(a):
        return {"root": jnp.sqrt(a), "inverse": 1.0 / a, "z": lax.complex(a, jnp.sqrt(a))}

    axes = {"a": [-1.0, 0.0, 4.0]}
    ds = bare(cell, axes)
    assert ds["result"].values.tolist() == [sweeps.NOT_FINITE, sweeps.NOT_FINITE, 0]
    assert "nan or inf" in sweeps.messages(ds)[0].item()
    # The numbers of a failed cell are kept as they are.
    assert np.isnan(ds["root"][0])
    assert ds["inverse"][0] == -1.0
    ds = bare(cell, axes, outputs={"inverse": sweeps.Output(may_be_nonfinite=True)})
    assert ds["result"].values.tolist() == [sweeps.NOT_FINITE, 0, 0]


def test_a_code_of_the_function_outranks_the_nan_it_left():
    def cell(a):
        result = RESULTS.where(a < 0, RESULTS.norm_diverges, RESULTS.successful)
        return {"root": jnp.sqrt(a), "result": result}

    ds = bare(cell, {"a": [-1.0, 4.0]})
    assert sweeps.messages(ds)[0].item() == RESULTS[RESULTS.norm_diverges]


@pytest.mark.parametrize("strategy", [sweeps.Loop(), sweeps.Lanes(3)])
def test_a_cell_that_raises_is_recorded_and_stops_no_other(strategy, tmp_path):
    def cell(a):
        return {"x": eqx.error_if(2 * a, a == 3, "three is not allowed")}

    store = tmp_path / "study.zarr"
    ds = bare(cell, {"a": range(7)}, chunk_size=4, strategy=strategy, store=store)
    good = [0, 1, 2, 4, 5, 6]
    assert ds["result"].values.tolist() == [0, 0, 0, sweeps.RAISED, 0, 0, 0]
    assert ds["x"].values[good].tolist() == [2 * a for a in good]
    status = sweeps.status(store)
    assert status.failed == 1
    assert status.outcomes == {"successful": 6, "raised": 1}
    assert len(status.errors) == 1
    assert status.errors[0].endswith("Error: three is not allowed")


def test_an_error_while_tracing_reaches_the_caller():
    with pytest.raises(TypeError, match="unsupported operand"):
        bare(lambda a: {"x": a + None}, {"a": [1.0]})


def test_float32():
    with jax.enable_x64(False):
        ds = bare(draw, AXES, chunk_size=4, threads=2)

        def raising(a):
            return {"x": eqx.error_if(a, a == 0.2, "no")}

        recorded = bare(raising, {"a": AXES["a"]}, chunk_size=3, threads=2)
    assert ds["mixed"].dtype == np.float32
    assert ds["a"].dtype == np.float64
    noise = ds["noise"].values
    # float32 sine and product, against float64 on the same draws: three roundings.
    expected = np.sin(ds["a"].values)[:, None] * noise[..., 0].astype(float) + np.arange(5)
    np.testing.assert_allclose(ds["mixed"], expected, rtol=3 * 6e-8, atol=3e-7)
    assert recorded["result"].values.tolist() == [0, sweeps.RAISED, 0]


def test_float64_where_the_threads_know_of_float32():
    """A context is the caller's own; the threads of a sweep see what holds outside of it."""
    jax.config.update("jax_enable_x64", False)
    try:
        with jax.enable_x64(True):
            ds = bare(lambda a: {"x": jnp.sin(a)}, {"a": AXES["a"]}, chunk_size=2, threads=2)
    finally:
        jax.config.update("jax_enable_x64", True)
    assert ds["x"].dtype == np.float64
    np.testing.assert_allclose(ds["x"], np.sin(ds["a"]), rtol=1e-15)


def test_a_guard_against_transfers_does_not_hold_up_the_cells():
    jax.config.update("jax_transfer_guard", "disallow")
    try:
        ds = bare(lambda a: {"x": jnp.sin(a)}, {"a": AXES["a"]}, chunk_size=2, threads=2)
    finally:
        jax.config.update("jax_transfer_guard", "allow")
    np.testing.assert_allclose(ds["x"], np.sin(ds["a"]), rtol=1e-15)


def test_pytrees_give_names():
    class Point(eqx.Module):
        left: jax.Array
        right: jax.Array

    ds = bare(lambda a: {"p": Point(a, 2 * a), "list": [a, (a, 3 * a)]}, {"a": [1.0]})
    expected = {"p.left": 1.0, "p.right": 2.0, "list.0": 1.0, "list.1.0": 1.0, "list.1.1": 3.0}
    assert {name: ds[name].item() for name in expected} == expected
    assert bare(lambda a: 2 * a, {"a": [1.0]})["value"].item() == 2.0


def test_each_devices_of_a_mesh_loops_alone(tmp_path):
    """Four CPU devices, against one device in this process, bit for bit."""
    from .study_process import AXES as axes, slow_cell

    here = bare(slow_cell, axes, chunk_size=6, threads=1)
    script = f"""
import json, jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
import sys; sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parent)!r})
from study_process import AXES, slow_cell
from implicit_flow import sweeps
from jax.sharding import Mesh, AxisType
ds = sweeps.sweep(slow_cell, AXES, chunk_size=13, progress=False)
mesh = jax.make_mesh((2,), ("pair",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
part = sweeps.sweep(slow_cell, {{"x": [0.5], "seed": [3, 5, 7]}}, mesh=mesh, progress=False)
print(json.dumps([ds["end"].values.tolist(), part["end"].values.tolist(), jax.device_count()]))
"""
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert out.returncode == 0, out.stderr
    whole, part, devices = json.loads(out.stdout)
    assert devices == 4
    assert whole == here["end"].values.tolist()
    assert part == here["end"].sel(x=[0.5], seed=[3, 5, 7]).values.tolist()


def test_memory_only_sweep_cannot_be_shared(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"`store` must be given where 2 processes share"):
        bare(draw, AXES)


def test_lanes_are_checked():
    with pytest.raises(ValueError, match=r"`count` must be at least 1, but is 0"):
        sweeps.Lanes(0)


def test_cost_must_be_finite():
    with pytest.raises(ValueError, match=r"`cost` must return finite numbers, but returned nan"):
        bare(draw, AXES, cost=lambda a, seed: float("nan"))


def test_a_hundred_thousand_cells():
    ds = bare(lambda a, b: {"sum": a + 2.0 * b}, {"a": np.arange(400.0), "b": np.arange(250.0)})
    expected = np.arange(400.0)[:, None] + 2 * np.arange(250.0)
    assert np.array_equal(ds["sum"].values, expected)


def test_interruption_without_a_store_says_what_is_lost():
    class Stop(sweeps.AbstractProgress):
        def start(self, total, done, failed):
            pass

        def update(self, done, failed):
            raise KeyboardInterrupt

        def note(self, text):
            pass

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt, match=re.escape("pass store=")):
        sweeps.sweep(draw, AXES, chunk_size=1, progress=Stop())


def test_while_loops_in_lanes_do_not_disturb_each_other():
    def collatz(start):
        def step(state):
            value, steps = state
            return jnp.where(value % 2 == 0, value // 2, 3 * value + 1), steps + 1

        return {"steps": lax.while_loop(lambda state: state[0] != 1, step, (start, 0))[1]}

    def by_hand(value):
        steps = 0
        while value != 1:
            value = value // 2 if value % 2 == 0 else 3 * value + 1
            steps += 1
        return steps

    for strategy in (sweeps.Loop(), sweeps.Lanes(), sweeps.Lanes(3)):
        ds = bare(collatz, {"start": range(1, 28)}, strategy=strategy)
        assert ds["steps"].values.tolist() == [by_hand(start) for start in range(1, 28)]
