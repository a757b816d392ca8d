"""Files: what is read, and one message of one form for each that cannot be."""

import io
import os
import pathlib
import pickle
import re
import zipfile

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

import implicit_flow as imf


FORM = re.compile(r"Argument `[\w\[\]]+` must .+, but .+\.( .+)?", re.DOTALL)
STACK = np.array([[[2.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
TARGETS = np.array([3.0, 4.0])


@pytest.fixture(autouse=True)
def _as_users_run_it():
    """Without the annotations, which would refuse some of this first while the tests run."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def csv(tmp_path):
    """Write a `.csv` and read it as a problem."""

    def read(content, **options):
        path = tmp_path / "data.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return imf.problems.load(path, **options)

    return read


def entries(problem):
    A = problem.measurement
    rows, cols = A.rows.tolist(), A.cols.tolist()
    return list(zip(rows, cols, problem.targets.tolist(), strict=True))


READ = {
    "plain": "0,1,2.5\n2,2,1\n",
    "header": "row,col,value\n0,1,2.5\n2,2,1\n",
    "header of other names": "user;item,i,x\n0,1,2.5\n2,2,1\n",
    "no last line end": "0,1,2.5\n2,2,1",
    "byte order mark": b"\xef\xbb\xbf0,1,2.5\n2,2,1\n",
    "byte order mark and header": b"\xef\xbb\xbfrow,col,value\r\n0,1,2.5\r\n2,2,1\r\n",
    "windows": "0,1,2.5\r\n2,2,1\r\n",
    "old macintosh": "0,1,2.5\r2,2,1\r",
    "quoted": '"0","1","2.5"\n"2",2,"1"\n',
    "quoted header": '"row","col","value"\n0,1,2.5\n2,2,1\n',
    "spaces": "  0 , 1,\t2.5 \n 2,2, 1\n",
    "spaces before quotes": ' "0", "1", "2.5"\n2,2,1\n',
    "blank lines": "\n\nrow,col,value\n\n0,1,2.5\n , ,\n\n2,2,1\n\n",
    "plus signs": "+0,1,+2.5\n2,2,1e0\n",
    "mirrored": "0,1,2.5\n1,0,2.5\n2,2,1\n",
    "mirrored, written differently": "0,1,2.5\n2,2,1.\n1,0,25e-1\n",
}


@pytest.mark.parametrize("case", READ)
def test_read(csv, case):
    problem = csv(READ[case])
    assert entries(problem) == [(0, 1, 2.5), (2, 2, 1.0)]
    assert problem.dim == 3


def test_one_entry(csv):
    problem = csv("0,0,-5")
    assert (problem.dim, problem.num_measurements, entries(problem)) == (1, 1, [(0, 0, -5.0)])


def test_the_last_rows_may_be_unseen(csv):
    assert csv("0,1,2.5\n", dim=7).dim == 7


def test_rectangular(csv):
    """Mirrored indices are different entries of W."""
    problem = csv("0,1,2.5\n1,0,7\n", rectangular=True)
    assert entries(problem) == [(0, 3, 2.5), (1, 2, 7.0)]
    assert problem.measurement.block == (2, 2)
    wide = csv("0,1,2.5\n", rectangular=True, shape=(3, 5))
    assert (wide.dim, wide.measurement.block) == (8, (3, 5))


REFUSED_CSV = {
    "header only": ("row,col,value\n", {}, "hold lines `row,col,value`, but data.csv holds none"),
    "blank": (" \n\n , \n", {}, "holds none"),
    "empty": ("", {}, r"name a file with content, but .*data.csv is empty"),
    "repeated": (
        "row,col,value\n0,1,2\n1,1,3\n0,1,2\n",
        {},
        r"once, but line 4 of data.csv repeats \(0, 1\) of line 2. Drop or average",
    ),
    "repeated in the mirror": (
        "0,1,2\n1,0,2\n1,0,2\n",
        {},
        r"line 3 of data.csv repeats \(1, 0\) of line 2",
    ),
    "repeated on the diagonal": ("1,1,2\n1,1,2\n", {}, "line 2 of data.csv repeats"),
    "repeated in W": ("0,1,2\n0,1,3\n", {"rectangular": True}, "line 2 of data.csv repeats"),
    "mirrored and unequal": (
        "0,1,2\n\n1,0,2.5\n",
        {},
        r"symmetric matrix, but line 3 of data.csv has 2.5 at \(1, 0\) and line 1 has 2.0 at "
        r"\(0, 1\). Make them equal, or read the file as a rectangular",
    ),
    "negative index": ("0,-1,2\n", {}, "0-based indices as col, but line 1 of data.csv has -1"),
    "out of dim": (
        "0,1,2\n5,3,1\n",
        {"dim": 5},
        "`dim` must exceed every index of data.csv, but is 5, and line 2 has index 5",
    ),
    "out of shape, rows": (
        "0,5,2\n5,3,1\n",
        {"rectangular": True, "shape": (5, 9)},
        r"`shape\[0\]` must exceed every index .* is 5, and line 2 has index 5",
    ),
    "out of shape, columns": (
        "5,0,2\n3,5,1\n",
        {"rectangular": True, "shape": (9, 5)},
        r"`shape\[1\]` must exceed every index .* is 5, and line 2 has index 5",
    ),
    "huge index": (
        "0,1,2\n50000,1,1\n",
        {},
        "indices below 50000, but line 2 of data.csv has index 50000. Renumber",
    ),
    "absurd index": (f"{'9' * 5000},1,1\n", {}, r"integers as row, but line 1 .* has '9+\.\.\.'"),
    "fractional index": ("0,1.0,2\n", {}, "hold integers as col, but line 1 of data.csv has '1.0'"),
    "index with underscore": ("1_0,1,2\n", {}, "hold integers as row, but line 1"),
    "index in other digits": ("０,1,2\n0,0,1", {}, "integers as row, but line 1"),
    "a letter for a zero": ("O,1,2.5\n0,0,1\n", {}, "hold integers as row, but line 1 .* has 'O'"),
    "value with underscore": ("0,1,1_000\n", {}, "hold numbers as value, but line 1"),
    "no value": ("0,1,\n", {}, "numbers as value, but line 1 of data.csv has ''"),
    "text": ("0,0,1\n0,1,four\n", {}, "numbers as value, but line 2 of data.csv has 'four'"),
    "nan": ("0,0,1\n0,1,nan\n", {}, "finite numbers as value, but line 2 .* not observed"),
    "infinite": ("0,1,-Infinity\n", {}, "finite numbers as value, but line 1"),
    "overflowing": ("0,1,1e999\n", {}, "finite numbers as value, but line 1 .* has '1e999'"),
    "two fields": ("0,0,1\n0,1\n", {}, "line 2 of data.csv has 2 fields. Separate .* by commas"),
    "four fields": ("0,0,1,1\n", {}, "line 1 of data.csv has 4 fields"),
    "semicolons": ("0;1;2.5\n", {}, "line 1 of data.csv has 1 field. Separate the fields by com"),
    "semicolons and spaces": ("0; 1; 2.5\n0; 2; 1\n", {}, "line 1 of data.csv has 1 field"),
    "semicolons and a header": ("row;col;value\n0;1;2.5\n", {}, "line 2 of data.csv has 1 field"),
    "tabs": ("0\t1\t2.5\n", {}, "line 1 of data.csv has 1 field"),
    "spaces for commas": ("0 1 2.5\n", {}, "line 1 of data.csv has 1 field"),
    "decimal commas": ("0,1,2,5\n", {}, "has 4 fields. .*decimals with a point"),
    "columns in another order": (
        "Value,Row,Col\n1,2,3\n",
        {},
        "columns row, col, value in this order, but data.csv has value, row, col",
    ),
    "second header": ("row,col,value\nrow,col,value\n0,0,1\n", {}, "line 2 of data.csv has 'row'"),
    "broken quotes": ('0,0,1\n"0,1,2\n', {}, "hold lines .*, but line 2 of data.csv is not"),
    "text after quotes": ('"0"1,1,2\n', {}, "hold lines .*, but line 1 of data.csv is not"),
    "a quoted line end": ('"1\n2",3,4\n', {}, r"integers as row, but line 1 .* has '1\\n2'"),
    "not text": (b"0,1,\xff\xfe\n", {}, "text file in UTF-8, but data.csv is not"),
    "utf-16": ("0,1,2\n".encode("utf-16"), {}, "text file in UTF-8, but data.csv is not"),
    "a nul": (b"0,1,2\x00\n", {}, "numbers as value|is not"),
    "an npz in disguise": (b"PK\x03\x04\xff\xff", {}, "UTF-8"),
    "dim for W": ("0,1,2\n", {"dim": 3, "rectangular": True}, r"`dim` .* give `shape=\(p, q\)`"),
    "shape of a symmetric one": ("0,1,2\n", {"shape": (3, 3)}, "`shape` .* give `dim=n`"),
    "no pair": ("0,1,2\n", {"rectangular": True, "shape": (3,)}, "`shape` must be a pair"),
    "no integer": ("0,1,2\n", {"dim": 2.5}, "`dim` must be an integer, but is 2.5"),
}


@pytest.mark.parametrize("case", REFUSED_CSV)
def test_a_csv_is_refused(csv, case):
    content, options, message = REFUSED_CSV[case]
    with pytest.raises(ValueError, match=message) as caught:
        csv(content, **options)
    assert FORM.fullmatch(str(caught.value)), caught.value
    assert len(str(caught.value)) < 500


def test_line_numbers_count_blank_lines_and_quoted_line_ends(csv):
    content = '"row\nindex",col,value\r\n\r\n0,0,1\n1,1,x\n'
    with pytest.raises(ValueError, match=r"line 5 of data.csv has 'x'"):
        csv(content)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name + ".npy", content)
    return buffer.getvalue()


GOOD = npz(stack=STACK, targets=TARGETS)
# A header that asks for more memory than any machine has.
BOMB = npy(TARGETS).replace(b"(2,), }", b"(2000000000000000,), }")


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        npz(stack=STACK.astype(int), targets=[3, 4]),
        npz(stack=STACK.astype(">f8"), targets=TARGETS, notes="by hand", more=np.ones(3)),
        npz(stack=np.asfortranarray(STACK), targets=TARGETS.astype(np.longdouble)),
    ],
    ids=["floats", "integers", "big-endian, and more arrays", "Fortran order"],
)
def test_read_archive(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    problem = imf.problems.load(str(path))
    assert problem.measurement.stack.tolist() == STACK.tolist()
    assert problem.targets.tolist() == TARGETS.tolist()
    assert problem.targets.dtype == jnp.float64


class _Malice:
    def __reduce__(self):
        return os.mkdir, ("opened",)


REFUSED_NPZ = {
    "no stack": (npz(targets=TARGETS), "lacks stack and holds targets"),
    "neither": (npz(**{f"a{k}": 1 for k in range(9)}), "stack and targets and holds .* and 4 more"),
    "an empty archive": (zipped(), "lacks stack and targets and holds nothing"),
    "a pickle inside": (
        npz(stack=np.array([_Malice()], object), targets=TARGETS),
        "`stack` of data.npz is a pickled object, which could run code when opened. Save it",
    ),
    "a pickle": (pickle.dumps(_Malice()), "data.npz cannot be read .*pickled"),
    "an object array alone": (npy(np.array([_Malice()], object)), "cannot be read .*pickled"),
    "an npy": (npy(STACK), "cannot be read .it is a single array, a .npy"),
    "truncated": (GOOD[: len(GOOD) // 2], "cannot be read"),
    "a csv": (b"0,1,2\n", "cannot be read"),
    "a member that is no array": (zipped(stack=b"hello", targets=npy(TARGETS)), "no array"),
    "a damaged member": (zipped(stack=npy(STACK)[:-3], targets=npy(TARGETS)), "`stack` is damaged"),
    "a header of nonsense": (
        zipped(stack=npy(STACK).replace(b"'shape'", b"'sh(pe'"), targets=npy(TARGETS)),
        "`stack` is damaged",
    ),
    "a size beyond memory": (zipped(stack=npy(STACK), targets=BOMB), "`targets` is damaged"),
    "flipped bits": (GOOD.replace(TARGETS.tobytes(), b"\x00" * 16), "`targets` is damaged"),
    "asymmetric": (
        npz(stack=np.arange(8.0).reshape(2, 2, 2), targets=TARGETS),
        "hold symmetric matrices, but stack",
    ),
    "one matrix": (npz(stack=STACK[0], targets=TARGETS), r"have shape \(m, n, n\)"),
    "m = 0": (npz(stack=STACK[:0], targets=[]), "m, n >= 1"),
    "targets of the wrong length": (npz(stack=STACK, targets=[1.0]), r"`targets` must have shape"),
    "nan": (npz(stack=STACK, targets=[1.0, np.nan]), r"`targets` must be finite"),
    "infinite": (npz(stack=np.full((2, 2, 2), np.inf), targets=TARGETS), "`stack` must be finite"),
    "complex": (npz(stack=STACK * 1j, targets=TARGETS), "`stack` must be real"),
    "text": (npz(stack=STACK, targets=["3", "4"]), "`targets` must be an array of real numbers"),
}


@pytest.mark.parametrize("case", REFUSED_NPZ)
def test_an_archive_is_refused(tmp_path, monkeypatch, case):
    content, message = REFUSED_NPZ[case]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        imf.problems.load(path)
    assert FORM.fullmatch(str(caught.value)), caught.value
    assert len(str(caught.value)) < 500
    assert os.listdir(tmp_path) == ["data.npz"], "the pickle was opened"


PATHS = {
    "missing": ("absent.csv", "absent.csv does not exist"),
    "a folder": ("folder.csv", "folder.csv is a folder"),
    "below a file": ("file.csv/x.csv", "file.csv/x.csv cannot be opened .Not a directory"),
    "a pipe": ("pipe.csv", "pipe.csv is a pipe or a device"),
    "a dangling link": ("link.csv", "link.csv does not exist"),
    "another kind": ("file.txt", r"end in .npz .* or .csv .*, but file.txt ends in '.txt'"),
    "no kind": ("file", "but file ends in ''"),
    "too long": ("x" * 5000 + ".csv", "cannot be opened .File name too long"),
    "a nul": ("a\0.csv", "be the path of a file"),
    "a number": (7, "be the path of a file, but is 7"),
    "none": (None, "be the path of a file, but is None"),
    "bytes": (b"file.csv", "be the path of a file"),
    "dim for an archive": ("file.npz", "`dim` must be left out"),
}


@pytest.mark.parametrize("case", PATHS)
def test_a_path_is_refused(tmp_path, monkeypatch, case):
    name, message = PATHS[case]
    monkeypatch.chdir(tmp_path)
    for file in ("file.csv", "file.txt", "file", "file.npz"):
        pathlib.Path(file).write_bytes(GOOD)
    pathlib.Path("folder.csv").mkdir()
    pathlib.Path("link.csv").symlink_to("nowhere")
    os.mkfifo("pipe.csv")
    options = {"dim": 3} if case.startswith("dim") else {}
    with pytest.raises(ValueError, match=message) as caught:
        imf.problems.load(name, **options)
    assert FORM.fullmatch(str(caught.value)), caught.value


@pytest.mark.parametrize("name", ["data.csv", "data.npz"])
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch, name):
    """Whoever runs this test may read everything: the system call is what refuses."""
    path = tmp_path / name
    path.write_bytes(GOOD)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ValueError, match=r"but data\.... (is not|cannot be read) \(Permission de"):
        imf.problems.load(path)


# Bytes that look like a file, with damage.
PIECES = [b"0", b"1", b"7", b",", b"\n", b"\r\n", b'"', b"-", b".", b"e", b"row,col,value", b"nan"]
TEXTS = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=30).map(b"".join)
PATIENT = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def read_or_refused(read):
    """What was read, or None where it was refused in the one form; any other error passes."""
    try:
        return read()
    except ValueError as error:
        message = str(error)
    assert FORM.fullmatch(message), message
    return None


@PATIENT
@given(content=TEXTS, rectangular=st.booleans())
@example(content=b"0,0,1\n0,1,2\n", rectangular=False)
def test_any_csv_is_read_or_refused(csv, content, rectangular):
    """Never another error; and what is read stands in the file."""
    problem = read_or_refused(lambda: csv(content, rectangular=rectangular))
    if problem is not None:
        lines = [line.strip(b'" \t') for line in re.split(rb"[\r\n]+", content) if line.strip()]
        assert problem.num_measurements <= len(lines)
        text = content.decode("utf-8-sig")
        written = {float(x) for x in re.findall(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", text)}
        assert set(problem.targets.tolist()) <= written


@PATIENT
@given(start=st.integers(0, len(GOOD)), cut=st.integers(0, 40), put=st.binary(max_size=8))
def test_any_damaged_archive_is_read_or_refused(tmp_path, start, cut, put):
    """The checksum of an archive covers the numbers: what is read is what was written."""
    path = tmp_path / "data.npz"
    path.write_bytes(GOOD[:start] + put + GOOD[start + cut :] or b"x")
    problem = read_or_refused(lambda: imf.problems.load(path))
    if problem is not None:
        assert problem.measurement.stack.tolist() == STACK.tolist()
        assert problem.targets.tolist() == TARGETS.tolist()
