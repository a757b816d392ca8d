"""The shortest program that fits learns whatever is short, at the price of trying them all."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ..plotting._style import COLORS, GRAY, figure
from ._all_functions import LEARNERS, NUM_INPUTS, SEEN, bits_of, mistakes_on_unseen
from ._bit_networks import trained_outputs
from ._finish import conclude, finish
from ._language import all_programs, num_bits, num_programs, shortest, spelled
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "The shortest program that fits m examples errs on at most (bits ln 2 + ln(1/delta)) / m of "
    "all inputs, whatever it is to learn; the search for it costs 8 times more with each "
    "instruction. A small ReLU network, which is cheap, learns majority from examples from which "
    "the programs do not, and not parity, which is a short program. Over all functions on a small "
    "domain every learner errs on exactly half of the inputs that it has not seen."
)
HYPOTHESES = (
    "A language of 8 instructions in which every program halts; exact search through all programs "
    "up to a length that is set (a universal language has no such end); examples drawn "
    "independently and uniformly, without noise; delta = 0.05; networks with one hidden layer, "
    "trained by Adam. That majority and parity fall as they do is a finding, and no theorem."
)
SOURCE = (
    "Solomonoff (1964), Rissanen (1978), Blumer, Ehrenfeucht, Haussler and Warmuth (1987) for the "
    "bound; Wolpert (1996) for all functions; Kearns and Valiant (1994) and Shalev-Shwartz, Shamir "
    "and Shammah (2017) on what networks do not learn."
)

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_inputs": 5,
        "most_instructions": 4,
        "num_examples": (8, 24, 64),
        "repeats": 4,
        "width": 16,
        "num_steps": 200,
        "table_instructions": 5,
    },
    "quick": {
        "num_inputs": 7,
        "most_instructions": 6,
        "num_examples": (4, 8, 12, 16, 24, 32, 48, 64, 96),
        "repeats": 10,
        "width": 32,
        "num_steps": 1000,
        "table_instructions": 7,
    },
    "full": {
        "num_inputs": 7,
        "most_instructions": 7,
        "num_examples": (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256),
        "repeats": 40,
        "width": 64,
        "num_steps": 4000,
        "table_instructions": 7,
    },
}
_DELTA = 0.05
# Instructions of the shortest program for parity.
_PARITY = 3


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    num_inputs: int | None = None,
    most_instructions: int | None = None,
    num_examples: Sequence[int] | None = None,
    repeats: int | None = None,
    width: int | None = None,
    num_steps: int | None = None,
    table_instructions: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Learns five functions of d bits in two ways, and counts all functions of three bits.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the examples, of the random function and of the networks.
        num_inputs: d, from 3 to 8.
        most_instructions: of the programs that are tried.
        num_examples: the m.
        repeats: samples for each function and m.
        width: hidden units.
        num_steps: steps of training.
        table_instructions: of the programs that are tried for the table of all functions.
        say: called with lines of progress.

    Returns:
        Errors over function, m and sample for both learners, the cost of the search over length,
        and the counted mistakes over all functions of three bits.
    """
    import xarray

    given = {name: value for name, value in locals().items() if name in SETTINGS["tiny"]}
    size = sizes(
        SETTINGS, setting, given, least={**dict.fromkeys(given, 1), "num_inputs": 3}, seed=seed
    )
    for name, most in (("num_inputs", 8), ("most_instructions", 8), ("table_instructions", 8)):
        if size[name] > most:
            cure = "The search runs every program on every input."
            _checks.refuse(name, f"be at most {most}", f"is {size[name]}", cure)
    random = np.random.default_rng(seed)
    bits = bits_of(size["num_inputs"])
    functions = _functions(bits, random)
    programs, seconds = [], []
    for length in range(size["most_instructions"] + 1):
        # Each length anew, so that its time is that of a search which ends there.
        start = time.perf_counter()
        programs = all_programs(size["num_inputs"], length)
        seconds.append(time.perf_counter() - start)
    distinct = _distinct(programs)
    say(f"{num_programs(size['most_instructions']):,} programs compute {distinct[-1]:,} functions")

    shape = (len(functions), len(size["num_examples"]), size["repeats"])
    labels = np.stack(list(functions.values()))
    examples = np.zeros((*shape, len(bits)), int)
    for where in np.ndindex(*shape):
        drawn = random.integers(len(bits), size=size["num_examples"][where[1]])
        examples[where] = np.bincount(drawn, minlength=len(bits))
    found = {w: shortest(programs, examples[w], labels[w[0]]) for w in np.ndindex(*shape)}
    say("shortest programs found")
    every = np.broadcast_to(labels[:, None, None], examples.shape)
    said = trained_outputs(
        bits,
        every.reshape(-1, len(bits)),
        examples.reshape(-1, len(bits)),
        width=size["width"],
        num_steps=size["num_steps"],
        seed=seed,
    ).reshape(examples.shape)
    say("networks trained")
    chosen = np.array([found[w].outputs for w in np.ndindex(*shape)]).reshape(examples.shape)
    fields = ("length", "mistakes", "number")
    details = {
        name: np.array([getattr(found[w], name) for w in np.ndindex(*shape)]).reshape(shape)
        for name in fields
    }
    m = np.array(size["num_examples"])
    price = num_bits(0) * (details["length"] + 1) * np.log(2)
    bound = (price + np.log(1 / _DELTA)) / m[:, None]
    counts, group_sizes = mistakes_on_unseen(size, seed)
    axes = ("function", "m", "sample")
    ds = xarray.Dataset(
        {
            "error_of_program": (axes, (chosen != every).mean(axis=-1)),
            "error_of_network": (axes, (said != every).mean(axis=-1)),
            "network_mistakes": (axes, (examples * (said != every)).sum(axis=-1)),
            "mistakes": (axes, details["mistakes"]),
            "length": (axes, details["length"]),
            "program_number": (axes, details["number"]),
            "bound": (axes, np.where(details["mistakes"] == 0, bound, np.nan)),
            "examples": ((*axes, "point"), examples),
            "labels": (("function", "point"), labels),
            "programs": ("instructions", [num_programs(k) for k in range(len(seconds))]),
            "distinct": ("instructions", distinct),
            "seconds": ("instructions", seconds),
            "table_mistakes": (("learner", "group"), counts),
            "table_functions": ("group", group_sizes),
        },
        coords={
            "function": list(functions),
            "m": m,
            "instructions": np.arange(len(seconds)),
            "learner": list(LEARNERS),
            "group": ["all", "short", "others"],
        },
        attrs={"num_inputs": size["num_inputs"], "unseen": 2**NUM_INPUTS - len(SEEN)},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _functions(bits: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """What is to be learned, on every input."""
    num_inputs = bits.shape[1]
    return {
        "one bit": bits[:, 2] == 1,
        "two bits differ": bits[:, 0] != bits[:, 1],
        "parity": bits.sum(axis=1) % 2 == 1,
        "majority": bits.sum(axis=1) > num_inputs / 2,
        "random": random.random(len(bits)) < 0.5,
    }


def _distinct(programs: list[Any]) -> list[int]:
    """How many functions the programs up to each length compute."""
    known: set[bytes] = set()
    counts = []
    for entry in programs:
        known |= {row.tobytes() for row in np.unique(entry.outputs, axis=0)}
        counts.append(len(known))
    return counts


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    fitted = ds.mistakes == 0
    broken = int(((ds.error_of_program > ds.bound) & fitted).sum())
    tried = int(fitted.sum())
    half = ds.table_mistakes.sel(group="all") * 2 - ds.attrs["unseen"] * 2 ** (2**NUM_INPUTS)
    exact = bool((half == 0).all())
    last = ds.isel(m=-1)
    mean = {
        (name, way): float(last[f"error_of_{way}"].sel(function=name).mean())
        for name in ("parity", "majority")
        for way in ("program", "network")
    }
    # Differences beyond the scatter over samples.
    apart = {}
    for name in ("parity", "majority"):
        better = last.error_of_network - last.error_of_program
        values = better.sel(function=name).values * (1 if name == "parity" else -1)
        apart[name] = float(np.mean(values)) > 2 * float(np.std(values)) / np.sqrt(len(values))
    cost = ds.programs.values
    text = (
        f"{tried} samples fitted by a program: its error is above the bound in {broken} (allowed: "
        f"{100 * _DELTA:.0f}%). At m = {int(ds.m[-1])} the errors of program and network are "
        f"{mean['parity', 'program']:.3f} and {mean['parity', 'network']:.3f} on parity, "
        f"{mean['majority', 'program']:.3f} and {mean['majority', 'network']:.3f} on majority. "
        f"Programs of up to {len(cost) - 1} instructions: {cost[-1]:,}. Over all "
        f"{2 ** (2**NUM_INPUTS)} functions of {NUM_INPUTS} bits every learner makes "
        f"{int(ds.table_mistakes[0, 0])} mistakes on {ds.attrs['unseen'] * 256} unseen inputs"
        f"{'' if exact else ': NOT so'}."
    )
    short = len(cost) - 1 < _PARITY
    if not exact or broken > _DELTA * tried + 2 * np.sqrt(_DELTA * tried):
        outcome = "fails"
    elif short:
        outcome, text = "undecided", f"{text} Parity takes {_PARITY} instructions: not tried."
    elif all(apart.values()):
        outcome = "holds"
    else:
        wrong_way = [
            name
            for name, sign in (("parity", 1), ("majority", -1))
            if sign * (mean[name, "network"] - mean[name, "program"]) < 0
        ]
        outcome = "fails" if wrong_way and ds.attrs["num_inputs"] >= 7 else "undecided"
    numbers = {**ds[["error_of_program", "error_of_network"]]}
    return conclude(outcome, text, numbers | {"bound": ds.bound.values[fitted.values]})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """Mean errors, and a program that was found.

    Args:
        ds: what `run` returned.

    Returns:
        Over function and m.
    """
    numbers, lengths = ds.program_number.isel(sample=0), ds.length.isel(sample=0)
    words = [
        [spelled(int(i), int(k)) for i, k in zip(*rows, strict=True)]
        for rows in zip(numbers.values, lengths.values, strict=True)
    ]
    means = ds[["error_of_program", "error_of_network", "bound"]].mean("sample")
    return means.assign(a_program=(("function", "m"), words))


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws errors against m, the cost of the search, and the table of all functions.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of three panels.
    """
    with figure(1, 3, width=16.5, height=5.2) as (fig, axes):
        shown = {"two bits differ": COLORS[2], "parity": COLORS[0], "majority": COLORS[1]}
        for name, color in shown.items():
            for way, style in (("program", "o-"), ("network", "s--")):
                error = ds[f"error_of_{way}"].sel(function=name).mean("sample")
                axes[0].plot(ds.m, error, style, color=color, label=f"{name}, {way}", markersize=6)
        axes[0].set(xlabel="examples $m$", ylabel="error on all inputs", ylim=(-0.02, 0.72))
        axes[0].set_title(f"functions of {ds.attrs['num_inputs']} bits")
        axes[0].legend(ncols=2, fontsize=11, loc="upper center", columnspacing=1.0)
        axes[1].plot(ds.instructions, ds.programs, "o-", color=COLORS[0], label="programs to run")
        axes[1].plot(ds.instructions, ds.distinct, "s-", color=COLORS[2], label="functions")
        axes[1].set(yscale="log", xlabel=r"longest program, $\ell$ instructions", ylabel="number")
        axes[1].set_xticks(ds.instructions.values)
        axes[1].set_title("the search")
        axes[1].legend(loc="upper left")
        places = np.arange(ds.sizes["learner"])
        total = ds.attrs["unseen"] * ds.table_functions
        for number, (group, color, label) in enumerate(
            (
                ("all", GRAY, "all functions"),
                ("short", COLORS[0], "short programs"),
                ("others", COLORS[1], "all others"),
            )
        ):
            share = (ds.table_mistakes / total).sel(group=group)
            axes[2].bar(places + 0.27 * (number - 1), share, 0.25, color=color, label=label)
        axes[2].axhline(0.5, color=GRAY, linewidth=1.5, linestyle="--")
        axes[2].set_xticks(places, [str(name).replace(" ", "\n") for name in ds.learner.values])
        axes[2].set(ylabel="error on unseen inputs", ylim=(0, 0.85))
        axes[2].set_title(f"all {2 ** (2**NUM_INPUTS)} functions of {NUM_INPUTS} bits")
        axes[2].legend(ncols=3, fontsize=11, loc="upper center", columnspacing=1.0)
    return fig
