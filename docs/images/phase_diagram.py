"""Draws `phase_diagram.png`, the picture of the page on sweeps: that of the notebook `03_sweeps`.

python docs/images/phase_diagram.py
"""

import runpy
from pathlib import Path

from implicit_flow import sweeps


HERE = Path(__file__).parent


def main() -> None:
    """Run the notebook, assertions included, and save its picture."""
    found = runpy.run_path(str(HERE.parents[1] / "notebooks" / "03_sweeps.py"))
    sweeps.heat_map(found["ds"], "gap", x="log10_alpha", y="m").savefig(
        HERE / "phase_diagram.png", dpi=110
    )


if __name__ == "__main__":
    main()
