"""Every function of three bits, and what learners say of inputs that they have not seen."""

from typing import Any

import numpy as np

from ._bit_networks import trained_outputs
from ._language import all_programs, shortest


# The domain of the table: 3 bits, 8 inputs, 256 functions; these 4 inputs are seen.
NUM_INPUTS, SEEN = 3, (0, 1, 3, 7)
# Functions of this many instructions or fewer count as short there.
_SHORT = 4
LEARNERS = ("shortest program", "ReLU network", "nearest input", "most frequent label")


def bits_of(num_inputs: int) -> np.ndarray:
    """The bits of every input.

    Args:
        num_inputs: d.

    Returns:
        Shape (2^d, d), the lowest bit first.
    """
    return (np.arange(2**num_inputs)[:, None] >> np.arange(num_inputs)) & 1


def mistakes_on_unseen(size: dict[str, Any], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mistakes on unseen inputs, summed over all functions of three bits: integers, all counted.

    A learner sees the labels of some inputs, and nothing else of the function.

    Args:
        size: `table_instructions` of the programs that are tried; `width` and `num_steps` of the
            networks.
        seed: of the networks.

    Returns:
        Mistakes over learner and group (all functions, short programs, all others), and the number
        of functions in each group.
    """
    bits, num_points = bits_of(NUM_INPUTS), 2**NUM_INPUTS
    functions = _all_labels(num_points)
    programs = all_programs(NUM_INPUTS, size["table_instructions"])
    seen = np.isin(np.arange(num_points), SEEN).astype(int)
    unseen = np.flatnonzero(seen == 0)
    given = _all_labels(len(SEEN))
    padded = np.zeros((len(given), num_points), bool)
    padded[:, SEEN] = given
    network = trained_outputs(
        bits,
        padded,
        np.tile(seen, (len(padded), 1)),
        width=size["width"],
        num_steps=size["num_steps"],
        seed=seed,
    )
    apart = np.abs(bits[:, None] - bits[None, SEEN]).sum(axis=-1)
    answers = {
        "shortest program": np.array([shortest(programs, seen, row).outputs for row in padded]),
        "ReLU network": network,
        "nearest input": given[:, np.argmin(apart, axis=1)],
        "most frequent label": np.repeat(
            given.sum(axis=1, keepdims=True) > len(SEEN) / 2, num_points, axis=1
        ),
    }
    # Which of the rows of `given` a function shows.
    shown = functions[:, SEEN] @ (1 << np.arange(len(SEEN)))
    computed = [np.unique(entry.outputs, axis=0) for entry in programs[: _SHORT + 1]]
    short_rows = {row.tobytes() for rows in computed for row in rows}
    packed = np.packbits(functions, axis=1)
    short = np.array([row.tobytes() in short_rows for row in packed])
    groups = (np.ones(len(functions), bool), short, ~short)
    counts = np.zeros((len(LEARNERS), len(groups)), int)
    for number, learner in enumerate(LEARNERS):
        wrong = (answers[learner][shown] != functions)[:, unseen].sum(axis=1)
        counts[number] = [int(wrong[group].sum()) for group in groups]
    return counts, np.array([int(group.sum()) for group in groups])


def _all_labels(count: int) -> np.ndarray:
    """Every row of labels of so many inputs; row number k has the bits of k."""
    return ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).astype(bool)
