"""The table of `docs/experiments.md`, from the experiments themselves: `python docs/_build/claims.py`."""

import pathlib

from implicit_flow import experiments


PAGE = pathlib.Path(__file__).parents[1] / "experiments.md"
BEGIN, END = "<!-- claims: made by docs/_build/claims.py -->\n", "<!-- end of claims -->\n"


def table() -> str:
    """One row an experiment: its name, what is claimed, and by whom."""
    rows = ["| experiment | claim | source |", "|---|---|---|"]
    for name in experiments.names():
        stated = experiments.facts(name)
        cells = (f"`{name}`", _plain(stated["claim"]), _plain(stated["source"]))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _plain(words: str) -> str:
    """Text in which nothing is markup: bars, stars, underscores and pointed brackets are letters."""
    words = words.replace("\\", "\\\\")
    for sign in "|*_`$":
        words = words.replace(sign, f"\\{sign}")
    return words.replace("<", "&lt;").replace(">", "&gt;")


def with_table(page: str) -> str:
    """The page with the table as it is now."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
