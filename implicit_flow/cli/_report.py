"""The report of the main job, as files."""

import importlib.util
import io
import json
from pathlib import Path

from ._figures import pictures
from ._page import page
from ._record import dataset, record
from ._source import Source
from ._walk import Answer


# Module -> the extra it comes with.
_NEEDED = {"matplotlib": "plots", "xarray": "store"}

PAGE = "report.html"
JSON = "result.json"
DATA = "result.nc"


def check_extras() -> None:
    """Refuse to start without what the report needs.

    Raises:
        ImportError: naming what is missing and how to install it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(dict.fromkeys(_NEEDED[name] for name in missing))
        raise ImportError(
            f"The report needs {' and '.join(missing)}, which this installation lacks. Install "
            f"with `pip install 'implicit_flow[{extras}]'`."
        )


def write_report(answer: Answer, source: Source, folder: Path, *, command: str) -> dict:
    """Write the page, the pictures and the numbers.

    Args:
        answer: of the main job.
        source: the problem.
        folder: that exists, where to write.
        command: that makes this report again.

    Returns:
        What `result.json` holds.

    Raises:
        OSError: the folder cannot be written.
    """
    import matplotlib

    shown = []
    files = {"page": PAGE, "numbers": JSON, "data": DATA}
    for picture in pictures(answer):
        drawn, svg = picture.draw(), io.BytesIO()
        files[picture.name] = f"{picture.name}.png"
        drawn.savefig(folder / files[picture.name], dpi=150)
        # A fixed salt and no date: the same numbers give the same file.
        with matplotlib.rc_context({"svg.hashsalt": "implicit_flow"}):
            drawn.savefig(svg, format="svg", metadata={"Date": None})
        shown.append((picture, svg.getvalue()))
    facts = record(answer, source, command=command, files=files)
    (folder / JSON).write_text(as_json(facts) + "\n", "utf-8")
    dataset(answer, source, command=command).to_netcdf(folder / DATA, engine="scipy")
    (folder / PAGE).write_text(page(answer, facts, shown), "utf-8")
    return facts


def as_json(facts: dict) -> str:
    """The record as text that every JSON reader takes.

    Args:
        facts: what `write_report` returned.

    Returns:
        One JSON object.
    """
    return json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False)
