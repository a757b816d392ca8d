"""Files in the formats of MNIST, CIFAR and plain text, written here byte by byte."""

import dataclasses
import gzip
import lzma
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from implicit_flow.networks import TextTask, cifar10, digits, mnist, text


RNG = np.random.default_rng(0)
OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open}


def write(path, content):
    with OPENERS[path.suffix if path.suffix in OPENERS else ""](path, "wb") as stream:
        stream.write(content)


def idx(array):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">HBB", 0, 8, array.ndim) + shape + array.tobytes()


@pytest.mark.parametrize("suffix", OPENERS)
def test_mnist(tmp_path, suffix):
    images = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = np.arange(7, dtype=np.uint8)
    for name, part in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        write(tmp_path / f"{name}-images-idx3-ubyte{suffix}", idx(images[part]))
        write(tmp_path / f"{name}-labels-idx1-ubyte{suffix}", idx(labels[part]))
    found = mnist(tmp_path)
    assert found.shape == (1, 28, 28)
    np.testing.assert_array_equal(np.round(found.train_inputs[:, 0] * 255), images[:5])
    np.testing.assert_array_equal(found.test_labels, [5, 6])
    assert found.train_inputs.dtype == np.float32


def test_cifar(tmp_path):
    planes = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    records = b"".join(bytes([k]) + planes[k].tobytes() for k in range(6))
    size = 3073
    write(tmp_path / "data_batch_1.bin", records[: 2 * size])
    write(tmp_path / "data_batch_2.bin.gz", records[2 * size : 4 * size])
    write(tmp_path / "test_batch.bin", records[4 * size :])
    found = cifar10(tmp_path)
    np.testing.assert_array_equal(np.round(found.train_inputs * 255), planes[:4])
    np.testing.assert_array_equal(found.train_labels, [0, 1, 2, 3])
    np.testing.assert_array_equal(found.test_labels, [4, 5])


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="Argument `folder` must hold a file named train-images"):
        mnist(tmp_path)
    write(tmp_path / "train-images-idx3-ubyte", b"PK\3\4")
    with pytest.raises(ValueError, match="must be in the IDX format"):
        mnist(tmp_path)
    write(tmp_path / "train-images-idx3-ubyte", idx(np.zeros((2, 3, 3), np.uint8))[:-1])
    with pytest.raises(ValueError, match="must hold 34 bytes"):
        mnist(tmp_path)
    write(tmp_path / "train-images-idx3-ubyte", idx(np.zeros((2, 3, 3), np.uint8))[:9])
    with pytest.raises(ValueError, match="ends within its header"):
        mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    packed = gzip.compress(idx(np.zeros((2, 3, 3), np.uint8)))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(packed[:-9])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz must be readable"):
        mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    for part, side in (("train", 3), ("t10k", 4)):
        write(tmp_path / f"{part}-images-idx3-ubyte", idx(np.zeros((2, side, side), np.uint8)))
        write(tmp_path / f"{part}-labels-idx1-ubyte", idx(np.array([0, 33], np.uint8)))
    with pytest.raises(ValueError, match="must hold classes 0 to 9, but holds 33"):
        mnist(tmp_path)
    for part in ("train", "t10k"):
        write(tmp_path / f"{part}-labels-idx1-ubyte", idx(np.array([0, 3], np.uint8)))
    with pytest.raises(ValueError, match=r"of one size, but holds images of \(3, 3\) and \(4, 4\)"):
        mnist(tmp_path)
    write(tmp_path / "train.bin", b"abc")
    with pytest.raises(ValueError, match="records of 3073 bytes"):
        cifar10(tmp_path)
    # Records of CIFAR-100 have a byte more: read as CIFAR-10, labels drift through the pixels.
    write(tmp_path / "train.bin", np.full(3073, 200, np.uint8).tobytes())
    with pytest.raises(ValueError, match="labels from 0 to 9, but holds 200"):
        cifar10(tmp_path)


@pytest.mark.parametrize("load", [mnist, cifar10, text])
def test_folder_that_does_not_exist_is_named(tmp_path, load):
    with pytest.raises(ValueError, match=r"must be a folder that exists, but .*nowhere"):
        load(tmp_path / "nowhere")


def test_labels_of_other_images_are_refused(tmp_path):
    for name in ("train", "t10k"):
        write(tmp_path / f"{name}-images-idx3-ubyte", idx(np.zeros((2, 3, 3), np.uint8)))
        write(tmp_path / f"{name}-labels-idx1-ubyte", idx(np.zeros(3, np.uint8)))
    with pytest.raises(ValueError, match=r"shapes \(2, 3, 3\) and \(3,\)"):
        mnist(tmp_path)


def test_text_is_split_by_book(tmp_path):
    content = ("ab c" * 300)[:1000]
    write(tmp_path / "books.txt.xz", content.encode())
    found = text(tmp_path)
    assert found.alphabet == " abc"
    assert (found.train.size, found.validation.size, found.test.size) == (900, 50, 50)
    rows = ["file,start,length", "a,0,500", "b,500,430", "c,930,30", "d,960,40"]
    (tmp_path / "books_offsets.csv").write_text("\n".join(rows))
    found = text(tmp_path, max_length=600)
    assert (found.train.size, found.validation.size, found.test.size) == (600, 30, 40)
    decoded = "".join(found.alphabet[token] for token in found.test)
    assert decoded == content[960:]


def test_text_windows_predict_the_next_character(tmp_path, key):
    write(tmp_path / "t.txt", bytes(range(97, 97 + 26)) * 40)
    task = TextTask(text(tmp_path), length=5, num_measured=3)
    inputs, targets = task.batch(key, 4)
    assert inputs.shape == targets.shape == (4, 5)
    np.testing.assert_array_equal(targets, (inputs + 1) % 26)


def test_short_text_is_refused(tmp_path):
    write(tmp_path / "t.txt", b"abc")
    with pytest.raises(ValueError, match="at least 20 characters"):
        text(tmp_path)


def test_digits_are_those_of_scikit_learn_wherever_it_keeps_its_file(monkeypatch):
    read = digits()
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    given = digits()
    for field in dataclasses.fields(read):
        mine, theirs = (getattr(images, field.name) for images in (read, given))
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="come with scikit-learn"):
        digits()


def test_digits_and_their_parts():
    images = digits()
    assert images.train_inputs.shape == (1437, 1, 8, 8)
    assert images.num_classes == 10
    assert images.flat().test_inputs.shape == (360, 64)
    assert images.rows().test_inputs.shape == (360, 8, 8)
    np.testing.assert_array_equal(images.rows().test_inputs, images.test_inputs[:, 0])
    held = images.held_out(200)
    np.testing.assert_array_equal(held.test_labels, images.train_labels[-200:])
    assert len(held.train_inputs) == 1237
    with pytest.raises(ValueError, match="Argument `count` must be between 1 and 1436"):
        images.held_out(1437)
