"""What every experiment states about itself and about its outcome."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    import xarray


OUTCOMES = ("holds", "fails", "undecided")


def finish(
    ds: "xarray.Dataset",
    facts: dict[str, Any],
    *,
    setting: str,
    seed: int,
    outcome: str,
    outcome_text: str,
) -> "xarray.Dataset":
    """Adds what every experiment states to the attributes of its dataset.

    Args:
        ds: the numbers.
        facts: the names of the module, `globals()`: `CLAIM`, `HYPOTHESES` and `SOURCE` are read.
        setting: "tiny", "quick" or "full".
        seed: the seed of the run.
        outcome: "holds", "fails" or "undecided".
        outcome_text: one line with the numbers that decide it.

    Returns:
        The dataset, with attributes that a file can hold.

    Raises:
        ValueError: for another outcome.
    """
    if outcome not in OUTCOMES:
        raise ValueError(
            f"Argument `outcome` must be one of {', '.join(OUTCOMES)}, but is {outcome!r}."
        )
    return ds.assign_attrs(
        claim=facts["CLAIM"],
        hypotheses=facts["HYPOTHESES"],
        source=facts["SOURCE"],
        setting=setting,
        seed=seed,
        outcome=outcome,
        outcome_text=" ".join(outcome_text.split()),
    )


def conclude(outcome: str, text: str, numbers: Mapping[Any, Any]) -> dict[str, str]:
    """States an outcome, and that it is undecided where a number that decides it is missing.

    Reductions skip what is not a number, and whatever is compared with it is false: without this a
    run of which nothing is left might hold.

    Args:
        outcome: what the numbers say.
        text: the same in words.
        numbers: name -> all numbers that decide, and as many as there should be: what is missing by
            design has to be left out. A dataset is such a mapping. Truth values are numbers.

    Returns:
        The arguments of `finish`. The text begins with what is missing: numbers that are not
        finite, or none at all.

    Example:
        >>> from implicit_flow.experiments._finish import conclude
        >>> conclude("holds", "Off by 1e-9.", {"distance": [1e-9, float("nan")]})["outcome_text"]
        'Not finite: 1 of 2 of distance. Off by 1e-9.'
    """
    # Not at the top: the list of experiments reads this module, and is quick.
    import numpy as np

    unmeasured, broken = [], []
    for name, values in numbers.items():
        finite = np.isfinite(np.asarray(values, float))
        if finite.size == 0:
            unmeasured.append(str(name))
        elif not finite.all():
            broken.append(f"{finite.size - int(finite.sum())} of {finite.size} of {name}")
    for said, missing in (("Not finite", broken), ("Not measured", unmeasured)):
        if missing:
            outcome, text = "undecided", f"{said}: {', '.join(missing)}. {text}"
    return {"outcome": outcome, "outcome_text": text}
