"""What every experiment states about itself and about its outcome."""

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
