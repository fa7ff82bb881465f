"""Libraries from folders and zips, hostile ones included."""

from __future__ import annotations

import stat
import zipfile

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.io import potentials
from aiida_fuse2.io.potentials import read_potentials
from tests.core.potentials.pair.libraries import spline_text

PAIRS = {"Ca-O/CaO.POT": "Ca core O core", "O-O/OO.pot": "O core O core", "deep/Ca-Ca/x.POT": "Ca Ca"}


def write_folder(folder):
    for name, pair in PAIRS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(spline_text(pair=pair))
    (folder / "README.txt").write_text("not a library")
    return folder


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_folder_zip_and_file_hold_the_same(tmp_path):
    folder = write_folder(tmp_path / "spp")
    packed = write_zip(tmp_path / "spp.zip", {f"spp/{n}": spline_text(pair=p) for n, p in PAIRS.items()})
    one = tmp_path / "all.lib"
    one.write_text("".join(spline_text(pair=pair) for pair in PAIRS.values()))
    libraries = [read_potentials(path) for path in (folder, packed, one)]
    assert libraries[0] == libraries[1] == libraries[2]
    assert libraries[0].pairs == (("Ca", "Ca"), ("Ca", "O"), ("O", "O"))


def test_a_pair_in_both_orders_is_taken_once(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "O-Ca").mkdir()
    (folder / "O-Ca" / "again.POT").write_text(spline_text(pair="O Ca"))
    assert len(read_potentials(folder).terms) == 3
    (folder / "O-Ca" / "again.POT").write_text(spline_text(pair="O Ca", header="4.0"))
    with pytest.raises(InputError, match="Ca-O differs"):
        read_potentials(folder)


def link_entry():
    entry = zipfile.ZipInfo("Ca-O/x.POT")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../Ca-O/x.POT", "points outside of the zip"),
        ("/etc/x.POT", "points outside of the zip"),
        ("a\\..\\..\\x.POT", "points outside of the zip"),
        ("C:/x.POT", "points outside of the zip"),
        ("readme.txt", "holds no file"),
    ],
)
def test_zips_with_bad_names_are_refused(tmp_path, name, words):
    path = write_zip(tmp_path / "bad.zip", {name: spline_text()})
    with pytest.raises(InputError, match=words):
        read_potentials(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.zip"]


def test_links_in_zips_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link_entry(), "/etc/passwd")
    with pytest.raises(InputError, match="is a link"):
        read_potentials(tmp_path / "link.zip")


def test_huge_files_are_refused_without_being_read_whole(tmp_path):
    path = write_zip(tmp_path / "bomb.zip", {"Ca-O/x.POT": b"#" * (potentials.MAX_FILE_BYTES + 10)})
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="is larger than"):
        read_potentials(path)


def test_too_much_in_all_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(potentials, "MAX_TOTAL_BYTES", 1000)
    entries = {f"{i}/x.POT": "#" * 400 + "\n" + spline_text() for i in range(4)}
    for path in (write_zip(tmp_path / "many.zip", entries), write_folder(tmp_path / "folder")):
        if path.is_dir():
            (path / "big.POT").write_text("#" * 2000)
        with pytest.raises(InputError, match="MB of libraries"):
            read_potentials(path)


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(potentials, "MAX_FILES", 2)
    with pytest.raises(InputError, match="entries; at most 4"):
        read_potentials(write_zip(tmp_path / "many.zip", {f"{i}.txt": "" for i in range(5)}))


@pytest.mark.parametrize("content", [b"PK\x03\x04 broken", b"\xff\xfe\x00binary"])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "x.POT"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_potentials(path)
    assert caught.value.field.startswith("potential")


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_zip_is_named(tmp_path, seed):
    """Depending on what is damaged, Python raises one error or another."""
    rng = np.random.default_rng(seed)
    path = write_zip(tmp_path / "cut.zip", {f"{i}/x.POT": rng.bytes(500).hex() for i in range(20)})
    data = bytearray(path.read_bytes())
    start = int(rng.integers(len(data) - 100))
    data[start : start + 100] = rng.bytes(100) if seed % 2 else bytes(100)
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_potentials(path)
    assert caught.value.field.startswith("potential")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_potentials(tmp_path / "nothing.zip")
    (tmp_path / "x.cif").write_text("data_")
    with pytest.raises(InputError, match="must be a folder, a zip"):
        read_potentials(tmp_path / "x.cif")
    with pytest.raises(InputError, match="holds no file"):
        read_potentials(tmp_path)
