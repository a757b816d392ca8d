"""A small language in which every program halts, and the search through all its programs.

A program is a row of instructions on two words of d bits: a, which begins as the input, and b,
which begins as 0. Its output is the lowest bit of b at the end.
"""

import math
from typing import NamedTuple

import numpy as np


# REPEAT runs what stands since the REPEAT before, or since the beginning, d times in all.
INSTRUCTIONS = ("XOR", "AND", "OR", "NOT", "SHIFT", "SWAP", "ADD", "REPEAT")
REPEAT = INSTRUCTIONS.index("REPEAT")


def num_bits(length: int) -> float:
    r"""The length of a program in bits, in a prefix code: an instruction more says where it ends.

    Lengths in bits satisfy Kraft's inequality with equality: $\sum_\ell 8^\ell\,9^{-(\ell+1)} = 1$.

    Args:
        length: the number of instructions.

    Returns:
        (length + 1) log2(9).
    """
    return (length + 1) * math.log2(len(INSTRUCTIONS) + 1)


def num_programs(length: int) -> int:
    """How many programs have at most this many instructions."""
    return sum(len(INSTRUCTIONS) ** k for k in range(length + 1))


def spelled(index: int, length: int) -> str:
    """A program as words.

    Args:
        index: among the programs of its length.
        length: the number of its instructions.

    Returns:
        Its instructions, with spaces between them; "(empty)" if there are none.
    """
    digits = []
    for _ in range(length):
        index, digit = divmod(index, len(INSTRUCTIONS))
        digits.append(INSTRUCTIONS[digit])
    return " ".join(reversed(digits)) or "(empty)"


class Programs(NamedTuple):
    """All programs of one length, by what they compute.

    Attributes:
        length: the number of instructions.
        outputs: of program and input, eight inputs a byte, shape (8^length, 2^d / 8).
    """

    length: int
    outputs: np.ndarray


def all_programs(num_inputs: int, most: int) -> list[Programs]:
    """Runs every program with at most so many instructions on every input.

    Args:
        num_inputs: d, from 3 to 8.
        most: the largest length.

    Returns:
        One entry for each length, from 0.
    """
    points = np.arange(2**num_inputs, dtype=np.uint8)[None, :]
    a, b = points, np.zeros_like(points)
    tokens, start = np.zeros((1, 0), np.uint8), np.zeros(1, int)
    found = [Programs(0, np.packbits(b & 1, axis=1))]
    for length in range(1, most + 1):
        after = [_step(token, a, b, num_inputs) for token in range(REPEAT)]
        after.append(_repeated(tokens, start, a, b, num_inputs))
        # Program number 8 i + t is program i, then instruction t.
        packed = np.stack([np.packbits(b & 1, axis=1) for _, b in after], axis=1)
        found.append(Programs(length, packed.reshape(-1, packed.shape[-1])))
        if length == most:
            break
        a, b = (
            np.stack(words, axis=1).reshape(-1, points.size) for words in zip(*after, strict=True)
        )
        grown = np.repeat(tokens, len(INSTRUCTIONS), axis=0)
        last = np.tile(np.arange(len(INSTRUCTIONS), dtype=np.uint8), len(tokens))
        tokens = np.concatenate([grown, last[:, None]], axis=1)
        start = np.where(last == REPEAT, length, np.repeat(start, len(INSTRUCTIONS)))
    return found


def _step(token: int, a: np.ndarray, b: np.ndarray, num_inputs: int) -> tuple[np.ndarray, ...]:
    """One instruction on words that are there already."""
    ones = np.uint8(2**num_inputs - 1)
    match INSTRUCTIONS[token]:
        case "XOR":
            return a, b ^ a
        case "AND":
            return a, b & a
        case "OR":
            return a, b | a
        case "NOT":
            return a, ~b & ones
        case "SHIFT":
            return a >> np.uint8(1), b
        case "SWAP":
            return b, a
        case _:
            return a, (b + a) & ones


def _repeated(
    tokens: np.ndarray, start: np.ndarray, a: np.ndarray, b: np.ndarray, num_inputs: int
) -> tuple[np.ndarray, np.ndarray]:
    """The words after the last segment has run d - 1 more times. It holds no REPEAT."""
    a, b = a.copy(), b.copy()
    for _ in range(num_inputs - 1):
        for place in range(tokens.shape[1]):
            for token in range(REPEAT):
                rows = np.flatnonzero((tokens[:, place] == token) & (start <= place))
                if len(rows):
                    a[rows], b[rows] = _step(token, a[rows], b[rows], num_inputs)
    return a, b


class Found(NamedTuple):
    """What the learner chose.

    Attributes:
        length: instructions of the program.
        number: of the program, among those of its length.
        mistakes: on the examples.
        bits: of the program and of its mistakes.
        outputs: of the program on every input, shape (2^d,).
    """

    length: int
    number: int
    mistakes: int
    bits: float
    outputs: np.ndarray


def shortest(programs: list[Programs], examples: np.ndarray, labels: np.ndarray) -> Found:
    """The shortest program that fits; where none does, the least of program and mistakes in bits.

    Args:
        programs: from `all_programs`.
        examples: how often each input is among the examples, shape (2^d,).
        labels: of all inputs; those of inputs that are no examples are not looked at.

    Returns:
        The program; of equals, the first.
    """
    total = int(examples.sum())
    # A code for mistakes: how many, then which. It is cheap to say that most are wrong, too.
    price = np.array([math.log2((total + 1) * math.comb(total, k)) for k in range(total + 1)])
    best: Found | None = None
    for entry in programs:
        wrong = entry.outputs ^ np.packbits(labels.astype(bool))
        mistakes = np.zeros(len(wrong), int)
        for times in range(1, int(examples.max(initial=0)) + 1):
            # Inputs that are there at least so many times count once more.
            there = np.packbits(examples >= times)
            mistakes += np.bitwise_count(wrong & there).sum(axis=1, dtype=int)
        fits = bool(np.any(mistakes == 0))
        index = int(np.argmin(mistakes if fits else price[mistakes]))
        bits = num_bits(entry.length) + float(price[mistakes[index]])
        if fits or best is None or bits < best.bits:
            outputs = np.unpackbits(entry.outputs[index]).astype(bool)
            best = Found(entry.length, index, int(mistakes[index]), bits, outputs)
        if best.mistakes == 0:
            break
    if best is None:
        raise ValueError("Argument `programs` must hold one length at least, but is empty.")
    return best
