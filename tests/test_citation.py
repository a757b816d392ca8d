"""What to cite: well-formed, the version that is installed, the same as in CITATION.cff."""

import re
from pathlib import Path

import implicit_flow as imf


ROOT = Path(__file__).resolve().parents[1]


def _entries(text):
    return re.findall(r"^@(\w+)\{([^,]+),\n(.*?)^\}", text, re.M | re.S)


def _fields(body):
    return dict(re.findall(r"^  (\w+)\s*= \{(.*?)\},?$", body, re.M | re.S))


def test_every_entry_is_complete_bibtex():
    text = imf.citation()
    entries = _entries(text)
    assert len(entries) == text.count("@") >= 2
    assert len({key for _, key, _ in entries}) == len(entries)
    for _, _, body in entries:
        assert {"title", "author", "year"} <= set(_fields(body))
        assert body.count("{") == body.count("}")


def test_the_library_comes_first_with_its_version():
    kind, key, body = _entries(imf.citation())[0]
    assert (kind, key) == ("software", "implicit_flow")
    assert _fields(body)["version"] == imf.__version__


def test_citation_file_says_the_same():
    fields = _fields(_entries(imf.citation())[0][2])
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    cff = dict(line.split(": ", 1) for line in lines if re.match(r"[a-z-]+: ", line))
    plain = " ".join(fields["title"].replace("\\_", "_").split())
    assert cff["title"].strip('"') == plain
    assert cff["version"] == imf.__version__
    assert cff["license"] == fields["license"]
