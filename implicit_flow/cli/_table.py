"""The table of the ladder, for the terminal and for the page."""

import sys

from ._alphas import show_alpha
from ._walk import Answer
from ._words import gap, number, small


COLUMNS = (
    ("alpha", "scale of the start, X₀ = α I"),
    ("residual", "‖A(X) − y‖ / ‖y‖"),
    ("nuclear norm", "‖X‖ at rest"),
    ("lower bound", "on the minimum; nothing that fits is below it"),
    ("gap", "of the nuclear norm over the lower bound"),
    ("rank", "eigenvalues above 1e-6 of the largest"),
    ("steps", "of the solver"),
    ("seconds", "the first row includes compilation"),
)


def cells(answer: Answer) -> list[tuple[str, ...]]:
    """The rows as text.

    Args:
        answer: of the main job.

    Returns:
        One tuple for each alpha, in the order of `COLUMNS`.
    """
    return [
        (
            show_alpha(rung.log10_alpha),
            small(rung.residual_norm),
            number(rung.nuclear_norm),
            number(answer.lower_bound),
            gap(rung),
            str(rung.rank),
            str(rung.num_steps),
            f"{rung.seconds:.2f}",
        )
        for rung in answer.rungs
    ]


def print_table(answer: Answer) -> None:
    """Print the table to stdout.

    Args:
        answer: of the main job.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, _ in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in cells(answer):
        table.add_row(*row)
    # Where there is no terminal to fit into, nothing is cut off.
    width = None if sys.stdout.isatty() else 120
    Console(highlight=False, width=width).print(table)
