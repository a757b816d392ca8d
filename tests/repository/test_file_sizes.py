"""Files stay short enough to read at once."""

import statistics


# The design: median under 150 lines, none over 500.
def test_files_are_short(sources):
    sizes = {name: len(text.splitlines()) for name, text in sources.items()}
    assert {name: size for name, size in sizes.items() if size > 500} == {}
    # Re-exports are no reading.
    assert statistics.median(s for n, s in sizes.items() if not n.endswith("__init__.py")) < 150
