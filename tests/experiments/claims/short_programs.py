"""Programs are run again by an interpreter of their own; the table of functions is counted."""

import itertools
import math

import numpy as np

from implicit_flow.experiments import short_programs


WORDS = ("XOR", "AND", "OR", "NOT", "SHIFT", "SWAP", "ADD", "REPEAT")


def interpret(program, x, d):
    """The language as its page says, one integer at a time."""
    a, b, segment, mask = x, 0, [], 2**d - 1

    def step(word):
        nonlocal a, b
        if word == "SWAP":
            a, b = b, a
        elif word == "SHIFT":
            a //= 2
        elif word == "NOT":
            b = mask - b
        else:
            b = {"XOR": b ^ a, "AND": b & a, "OR": b | a, "ADD": (a + b) % (mask + 1)}[word]

    for word in program:
        if word == "REPEAT":
            for _ in range(d - 1):
                for again in segment:
                    step(again)
            segment = []
        else:
            step(word)
            segment.append(word)
    return b % 2


def program_of(number, length):
    return [WORDS[number // 8**k % 8] for k in reversed(range(length))]


def check_outcome(ds):
    """A search that ends before parity does not count against it."""
    outcome = lambda ds: short_programs._outcome(ds)["outcome"]
    # As if programs had failed where only longer ones do not.
    parity = ds.function == "parity"
    worse = {"error_of_program": ds.error_of_program.where(~parity, 0.5)}
    worse |= {"error_of_network": ds.error_of_network.where(~parity, 0.0)}
    late = ds.assign(worse | {"mistakes": ds.mistakes + parity})
    late.attrs["num_inputs"] = 7
    assert outcome(late) == "fails"
    assert outcome(late.isel(instructions=slice(3))) == "undecided"


def check(ds):
    check_outcome(ds)
    d, points = ds.attrs["num_inputs"], range(2 ** ds.attrs["num_inputs"])
    last = ds.isel(m=-1, sample=0)
    for name in ds.function.values:
        row, labels = last.sel(function=name), ds.labels.sel(function=name).values
        program = program_of(int(row.program_number), int(row.length))
        outputs = np.array([interpret(program, x, d) for x in points])
        assert math.isclose(np.mean(outputs != labels), float(row.error_of_program))
        assert int(np.sum(row.examples.values * (outputs != labels))) == int(row.mistakes)
    # Parity is three instructions, and nothing shorter fits: all shorter ones are tried.
    row, labels = last.sel(function="parity"), ds.labels.sel(function="parity").values
    assert int(row.length) == 3
    assert float(row.error_of_program) == 0.0
    seen = np.flatnonzero(row.examples.values)
    for length in range(3):
        for program in itertools.product(WORDS, repeat=length):
            assert any(interpret(program, int(x), d) != labels[x] for x in seen)
    # Every program of one more instruction is one of eight.
    assert ds.programs.values.tolist() == [(8 ** (k + 1) - 1) // 7 for k in ds.instructions.values]
    assert bool((ds.distinct <= ds.programs).all())

    # No free lunch, in integers: all functions together, half of the unseen inputs.
    everything = ds.attrs["unseen"] * 256
    assert ds.table_mistakes.dtype.kind == "i"
    assert ds.table_functions.values[0] == 256
    for learner in ds.learner.values:
        mistakes = ds.table_mistakes.sel(learner=learner)
        assert 2 * int(mistakes.sel(group="all")) == everything
        assert (
            int(mistakes.sel(group="short")) + int(mistakes.sel(group="others")) == everything // 2
        )
    share = (ds.table_mistakes / ds.table_functions).sel(learner="shortest program")
    assert float(share.sel(group="short")) < float(share.sel(group="others"))
    # The bound of Occam's razor fails for at most delta of the samples: here far fewer, as it is
    # a bound for all programs at once.
    fitted = ds.mistakes == 0
    broken = (ds.error_of_program > ds.bound) & fitted
    assert int(broken.sum()) <= 0.05 * int(fitted.sum())
