"""What the numbers of a run come to: counts, time ratios, a table for the page, the profile."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .runs import OURS, SCIPY, STOCK


PAGE = Path(__file__).parents[1] / "docs" / "which_solver.md"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "solvers.png"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
# Steps beyond which a case counts as stiff, and below which stock is quick.
STIFF, EASY = 20_000, 1_000


def _best_stock(rows: dict[str, dict]) -> dict | None:
    solving = [rows[k] for k in STOCK if k in rows and rows[k]["solved"]]
    return min(solving, key=lambda row: row["seconds"], default=None)


def classify(case: dict) -> tuple[str, float] | None:
    """The class of a case, and stock's time over ours; None where something is missing.

    Where no stock set-up solves it, the time is that of the one that gave up first, at its cap: a
    lower bound. One that ended with a wrong answer has not given up, and does not count.
    """
    rows = case["rows"]
    if OURS not in rows or any(k not in rows for k in STOCK):
        return None
    mine, best = rows[OURS]["seconds"], _best_stock(rows)
    if best is None:
        capped = [rows[k]["seconds"] for k in STOCK if not rows[k]["goal"]]
        return ("stiff", min(capped) / mine) if capped else None
    kind = "stiff" if best["steps"] > STIFF else "easy" if best["steps"] < EASY else "between"
    return kind, best["seconds"] / mine


def summary(out: dict) -> dict:
    """Counts by solver, and ratios by class."""
    cases = list(out["cases"].values())
    solvers = [OURS, *STOCK, *SCIPY]
    counts = {}
    for name in solvers:
        rows = [case["rows"][name] for case in cases if name in case["rows"]]
        if rows:
            counts[name] = {
                "ran": len(rows),
                "solved": sum(row["solved"] for row in rows),
                "silently_wrong": sum(row["silently_wrong"] for row in rows),
            }
    mine = [case["rows"][OURS] for case in cases if OURS in case["rows"]]
    classes: dict[str, list[float]] = {"stiff": [], "between": [], "easy": []}
    for case in cases:
        found = classify(case)
        if found is not None:
            classes[found[0]].append(found[1])
    ratios = {
        kind: {
            "cases": len(values),
            "median": float(np.median(values)),
            "least": float(np.min(values)),
            "most": float(np.max(values)),
        }
        for kind, values in classes.items()
        if values
    }
    scales = {
        name: times["1e-300"] / times["1e-3"]
        for name, times in out["scales"].items()
        if {"1e-300", "1e-3"} <= set(times)
    }
    return {
        "cases": len(cases),
        "counts": counts,
        "error_estimate_understates": sum(
            row["error"] is None or row["error"] > row["error_estimate"] + 1e-9 for row in mine
        ),
        "stock_time_over_ours": ratios,
        "time_at_1e-300_over_1e-3": scales,
    }


def table(out: dict) -> str:
    """The page's tables, in Markdown."""
    found = summary(out)
    lines = ["| solver | cases run | solved | silently wrong |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {row['ran']} | {row['solved']} | {row['silently_wrong']} |"
        for name, row in found["counts"].items()
    ]
    words = {
        "stiff": f"stiff: no stock set-up solves it, or only in more than {STIFF:,} steps",
        "between": "between the two",
        "easy": f"easy: stock solves it in fewer than {EASY:,} steps",
    }
    lines += ["", "| class | cases | median | least | most |", "|---|---|---|---|---|"]
    lines += [
        f"| {words[kind]} | {row['cases']} | {row['median']:.3g} | {row['least']:.3g} "
        f"| {row['most']:.3g} |"
        for kind, row in found["stock_time_over_ours"].items()
    ]
    lines += [
        "",
        "| case | engine | best stock set-up | error of the engine's X | its estimate |",
        "|---|---|---|---|---|",
    ]
    for name, case in out["cases"].items():
        rows = case["rows"]
        if OURS not in rows:
            continue
        lines.append(
            f"| {name} | {_seconds(rows[OURS])} | {_stock_words(rows)} "
            f"| {rows[OURS]['error']:.0e} | {rows[OURS]['error_estimate']:.0e} |"
        )
    return "\n".join(lines)


def _seconds(row: dict) -> str:
    return f"{1e3 * row['seconds']:.3g} ms"


def _stock_words(rows: dict[str, dict]) -> str:
    missing = [k for k in STOCK if k not in rows]
    best = _best_stock(rows)
    if best is not None:
        name = next(k for k in STOCK if rows.get(k) is best)
        return f"{_seconds(best)}, {best['steps']:,} steps ({name})" + (
            ", not all run" if missing else ""
        )
    if missing:
        return "not all run"
    wrong = [k for k in STOCK if rows[k]["silently_wrong"]]
    capped = [rows[k]["seconds"] for k in STOCK if not rows[k]["goal"]]
    parts = [f"unfinished after {min(capped):.3g} s or more"] if capped else []
    return "; ".join(parts + [f"wrong: {', '.join(wrong)}"] * bool(wrong))


def profile(out: dict, path: Path) -> None:
    """The share of cases solved within a factor of the fastest solver's time."""
    from matplotlib.figure import Figure

    cases = [case["rows"] for case in out["cases"].values() if {OURS, *STOCK} <= set(case["rows"])]
    names = [n for n in (OURS, *STOCK, *SCIPY) if any(n in rows for rows in cases)]
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    grid = np.geomspace(1, 1e5, 500)
    styles = ["-", "-", "--", "-", "--", ":", ":"]
    colors = ["#000000", "#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7"]
    for name, style, color in zip(names, styles, colors, strict=False):
        ratios = []
        for rows in cases:
            times = [row["seconds"] for row in rows.values() if row["solved"]]
            row: dict[str, Any] = rows.get(name, {"solved": False})
            ratios.append(row["seconds"] / min(times) if row["solved"] else np.inf)
        share = [np.mean(np.array(ratios) <= factor) for factor in grid]
        width = 3.0 if name == OURS else 1.6
        axes.step(grid, share, style, where="post", label=name, linewidth=width, color=color)
    axes.set(
        xscale="log",
        xlim=(1, 1e5),
        ylim=(0, 1.02),
        xlabel="processor time, as a multiple of the fastest that solves the case",
        ylabel=f"share of the {len(cases)} cases solved",
    )
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=130)


def write(path: Path) -> None:
    """The summary on the screen; of the committed run also the page's table and the picture."""
    from .solvers import RESULTS_FILE

    out = json.loads(path.read_text())
    print(json.dumps(summary(out), indent=1))
    committed = path.resolve() == RESULTS_FILE.resolve()
    profile(out, PICTURE if committed else path.with_suffix(".png"))
    if committed:
        text = PAGE.read_text()
        head, rest = text.split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n\n{table(out)}\n\n{END}{rest.split(END)[1]}")
