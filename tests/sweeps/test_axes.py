"""Axes are checked before anything is computed, and every refusal says what to do."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow import sweeps
from implicit_flow.sweeps._arguments import check_arguments


def total(a, b=0.0, **others):
    return {"total": a + b}


@pytest.mark.parametrize(
    ("axes", "static", "message"),
    [
        ({}, (), r"Argument `axes` must name at least one axis"),
        ({"a": []}, (), r'Argument `axes\["a"\]` must hold at least one value, but is empty'),
        ({"a": np.zeros(0)}, (), r"must hold at least one value"),
        ({"a": [1.0, float("nan")]}, (), r"must hold finite values, but holds nan at position 1"),
        ({"a": [1.0, np.inf]}, (), r"must hold finite values, but holds inf"),
        ({"a": [1.0, 2.0, 1.0]}, (), r"must hold each value once, but holds 1.0 2 times"),
        ({"a": [0.0, -0.0]}, (), r"must hold each value once"),
        ({"a": ["x", "x"]}, ("a",), r"must hold each value once, but holds x"),
        ({"a": ["x", "y"]}, (), r"must hold numbers, but holds strings.*static=\('a',\)"),
        ({"a": ["x", 1]}, ("a",), r"mixes strings and numbers"),
        ({"a": 3.0}, (), r"must be a sequence of values, but is 3.0. Pass \[3.0\]"),
        ({"a": "abc"}, ("a",), r"must be a sequence of values, but is 'abc'"),
        ({"a": [[1.0], [2.0]]}, (), r"must be one-dimensional, but has shape \(2, 1\)"),
        ({"a": [1j, 2j]}, (), r"must hold numbers, booleans or strings, but holds complex128"),
        ({"a": [object(), object()]}, ("a",), r"but holds object values"),
        ({"a": [1, 2**70]}, (), r"but holds object values"),
        ({"a": [1.0], "key": [1]}, (), r"must not use the reserved names.*'key'"),
        ({"a": [1.0], "result": [1]}, (), r"must not use the reserved names.*'result'"),
        ({"a": [1.0], "seconds": [1]}, (), r"must not use the reserved names.*'seconds'"),
        ({"a": [1.0], "attempt": [1]}, (), r"must not use the reserved names.*'attempt'"),
        ({"a": [1.0], "log alpha": [1]}, (), r"names that can be keyword arguments.*'log alpha'"),
        ({"a": [1.0]}, ("m",), r"Argument `static` must hold names of axes, but holds 'm'"),
    ],
)
def test_refused(axes, static, message):
    with pytest.raises(ValueError, match=message):
        sweeps.sweep(total, axes, static=static, progress=False)


def test_static_as_a_bare_string_is_not_three_names():
    with pytest.raises(TypeError, match=r"Pass static=\('a',\)"):
        sweeps.sweep(total, {"a": [1.0]}, static="a", progress=False)


@pytest.mark.parametrize("axes", [{"x": [1.0]}, {"a": [1.0], "x": [1.0]}, {"b": [1.0]}])
def test_function_must_take_the_axes(axes):
    with pytest.raises(TypeError, match=r"must take the axes .* signature \(a, b=0.0\)"):
        sweeps.sweep(lambda a, b=0.0: a + b, axes, progress=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1e-2, 1e-50], r"holds 1e-50, which becomes 0.0. Turn on float64"),
        ([1.0, 1e300], r"holds 1e\+300, which becomes inf"),
        ([1.0, 1.0 + 1e-12], r"some of its values are equal there"),
        ([1, 2**40], r"values that int32 can hold, but holds 1099511627776"),
    ],
)
def test_what_float32_cannot_hold_is_refused(values, message):
    with jax.enable_x64(False), pytest.raises(ValueError, match=message):
        sweeps.sweep(total, {"a": values}, progress=False)


def test_labels_and_kinds():
    def cell(a, n, flag, name):
        assert isinstance(n, int)
        assert isinstance(name, str)
        assert a.dtype == jnp.float64
        assert flag.dtype == jnp.bool_
        return {"gap": a * n + jnp.where(flag, 1.0, 0.0) + len(name), "point": jnp.ones(3)}

    ds = sweeps.sweep(
        cell,
        {
            "a": sweeps.Axis(jnp.asarray([1.0, 2.0]), units="m", description="a length"),
            "n": range(2, 4),
            "flag": [False, True],
            "name": ["x", "long"],
        },
        static=("n", "name"),
        outputs={
            "gap": sweeps.Output(units="m", description="how far"),
            "point": sweeps.Output(dims=("direction",)),
        },
        progress=False,
    )
    assert ds["gap"].dims == ("a", "n", "flag", "name")
    assert ds["point"].dims == ("a", "n", "flag", "name", "direction")
    assert ds["a"].attrs == {"units": "m", "description": "a length"}
    assert ds["gap"].attrs == {"units": "m", "description": "how far"}
    for a in (1.0, 2.0):
        for n in (2, 3):
            for flag in (False, True):
                for name in ("x", "long"):
                    got = ds["gap"].sel(a=a, n=n, flag=flag, name=name).item()
                    assert got == a * n + flag + len(name)


def test_integers_stay_integers():
    def cell(seed):
        assert seed.dtype == jnp.int64
        return {"first": jax.random.uniform(jax.random.key(seed))}

    ds = sweeps.sweep(cell, {"seed": range(3)}, progress=False)
    expected = [jax.random.uniform(jax.random.key(seed)).item() for seed in range(3)]
    assert ds["first"].values.tolist() == expected


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda a: {}, r"must return arrays, but returns none"),
        (lambda a: {"a": a}, r"'a' is also the name of an axis"),
        (lambda a: {"result": a}, r"must not return an array named 'result'"),
        (lambda a: {"x/y": a}, r"names that can be those of folders.*returns 'x/y'"),
        (lambda a: {"x\\y": a}, r"names that can be those of folders"),
        (lambda a: {"zarr.json": a}, r"names that can be those of folders"),
        (lambda a: {"x" * 201: a}, r"at most 200 bytes"),
        (lambda a: {"k": "text"}, r"must return numbers, but returns 'text' as 'k'"),
        (lambda a: {"k": jax.random.key(0)}, r"must return numbers, but `k` is key"),
        (lambda a: {"k": a.astype(jnp.bfloat16)}, r"must return numbers, but `k` is bfloat16"),
    ],
)
def test_what_cannot_be_stored_is_refused(returned, message):
    with pytest.raises(ValueError, match=message):
        sweeps.sweep(returned, {"a": [1.0]}, progress=False)


def test_a_key_that_is_given_stays_and_what_is_masked_is_no_value():
    def cell(a, key):
        return {"draw": a * jax.random.uniform(key)}

    key = jax.random.key(7)
    ds = sweeps.sweep(functools.partial(cell, key=key), {"a": [1.0]}, progress=False)
    assert ds["draw"].item() == jax.random.uniform(key).item()
    with pytest.raises(ValueError, match="masked"):
        sweeps.sweep(cell, {"a": np.ma.array([1.0, 2.0], mask=[False, True])}, progress=False)


def test_labels_for_what_is_not_returned():
    with pytest.raises(ValueError, match=r"`outputs` must be keyed by names.*'gap'.*total"):
        sweeps.sweep(total, {"a": [1.0]}, outputs={"gap": sweeps.Output()}, progress=False)
    with pytest.raises(ValueError, match=r"dims` must have 0 names"):
        sweeps.sweep(
            total, {"a": [1.0]}, outputs={"total": sweeps.Output(dims=("i",))}, progress=False
        )


def test_shapes_that_depend_on_a_static_axis_are_refused():
    with pytest.raises(ValueError, match=r"one shape.*float64\[2\].*float64\[3\].* at n=3"):
        sweeps.sweep(
            lambda a, n: {"x": a * jnp.ones(n)},
            {"a": [1.0], "n": [2, 3]},
            static=("n",),
            progress=False,
        )


def test_a_million_cells_in_chunks_of_one_are_refused():
    with pytest.raises(ValueError, match=r"at most 100,000 chunks, but makes 1,000,000"):
        sweeps.sweep(total, {"a": range(1000), "b": range(1000)}, chunk_size=1, progress=False)


def test_results_larger_than_memory_are_refused_without_a_store():
    with pytest.raises(ValueError, match=r"`store` must be given.*GiB"):
        sweeps.sweep(
            lambda a, b: {"x": (a + b) * jnp.ones(10**6)},
            {"a": np.arange(1000.0), "b": np.arange(1000.0)},
            chunk_size=1000,
            progress=False,
        )


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"x": ("a", "i")}, r'`outputs\["x"\].dims` must name .* own, but holds \'a\''),
        ({"x": ("y", "i")}, r"of the array's own, but holds 'y'"),
        ({"x": ("result", "i")}, r"of the array's own, but holds 'result'"),
        ({"x": ("i", "i")}, r"must name each dimension once, but holds 'i' twice"),
        ({"x": ("i", "j"), "y": ("i",)}, r"one length only, but 'i' has length 3 here and 2 in"),
    ],
)
def test_names_of_dimensions_that_collide(dims, message):
    outputs = {name: sweeps.Output(dims=given) for name, given in dims.items()}
    with pytest.raises(ValueError, match=message):
        sweeps.sweep(
            lambda a: {"x": a * jnp.ones((2, 2)), "y": a * jnp.ones(3)},
            {"a": [1.0]},
            outputs=outputs,
            progress=False,
        )


def test_an_axis_named_as_a_dimension_that_is_named_by_default():
    with pytest.raises(ValueError, match=r"own, but holds 'x_dim0'"):
        sweeps.sweep(
            lambda a, x_dim0: {"x": a * jnp.ones(2)}, {"a": [1.0], "x_dim0": [1]}, progress=False
        )


@pytest.mark.parametrize("name", ["chunk_size", "threads"])
@pytest.mark.parametrize("value", [0, -3, True, 2.5, "2", [2]])
def test_counts_must_be_positive_integers(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` must be a positive integer, but is"):
        check_arguments(**{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "all"}, r"`mesh` must be a jax.sharding.Mesh, but is 'all'"),
        ({"strategy": "vmap"}, r"`strategy` must be Loop\(\) or Lanes\(\), but is 'vmap'"),
        ({"store": 3}, r"`store` must be a path, but is 3"),
        ({"progress": "yes"}, r"`progress` must be True, False or .*, but is 'yes'"),
        ({"resume": "no"}, r"`resume` must be True or False, but is 'no'"),
        ({"force_resume": 1}, r"`force_resume` must be True or False, but is 1"),
        ({"outputs": {"total": "m"}}, r'`outputs\["total"\]` must be an Output, but is \'m\''),
        ({"static": "m"}, r"`static` must be a sequence of names, but is the string 'm'"),
        ({"static": 2.5}, r"`static` must be a sequence of names, but is 2.5"),
        ({"cost": 2.0}, r"`cost` must be a function of the named axes, but is 2.0"),
    ],
)
def test_kinds_of_options(options, message):
    # Not through the door: while tests run, the check of its annotations comes first.
    with pytest.raises(TypeError, match=message):
        check_arguments(**options)


@pytest.mark.parametrize("door", [sweeps.estimate, functools.partial(sweeps.sweep, progress=False)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "`threads` must be a positive integer, but is 0"),
        ({"chunk_size": -1}, "`chunk_size` must be a positive integer, but is -1"),
        ({"cost": lambda b: b}, r"`cost` must take the axes a as keyword arguments, but .*\(b\)"),
        ({"cost": lambda a: "x"}, "`cost` must return a number, but returned 'x'"),
    ],
)
def test_the_doors_check_their_options(door, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        door(total, {"a": [1.0]}, **options)


_WRONG_KINDS = """
from implicit_flow import sweeps
for wrong in (
    lambda: sweeps.load(None),
    lambda: sweeps.Output(dims=5),
    lambda: sweeps.Output(dims="time"),
    lambda: sweeps.Lanes("2"),
):
    try:
        wrong()
    except (TypeError, ValueError) as error:
        print(error)
"""


def test_paths_dimensions_and_lanes_of_the_wrong_kind():
    # In a process where nothing checks annotations.
    found = subprocess.run(
        [sys.executable, "-c", _WRONG_KINDS], capture_output=True, text=True, check=True
    )
    assert [line.split(".")[0] for line in found.stdout.splitlines()] == [
        "Argument `store` must be a path, but is None",
        "Argument `dims` must be a tuple of names, but is 5",
        "Argument `dims` must be a tuple of names, but is 'time'",
        "Argument `count` must be an integer, but is '2'",
    ]


@pytest.mark.parametrize("strategy", [sweeps.Loop(), sweeps.Lanes()])
def test_a_function_may_return_constants(strategy):
    def constant(a):
        return {"same": 3.0, "flag": True, "kind": 2}

    ds = sweeps.sweep(constant, {"a": [1.0, 2.0]}, strategy=strategy, progress=False)
    assert ds["same"].values.tolist() == [3.0, 3.0]
    assert ds["flag"].values.tolist() == [True, True]
    assert ds["kind"].dtype == np.int64
