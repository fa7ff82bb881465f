"""The native kernel: how it is built, found again, and what happens where it cannot be built."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.chgnet import build
from aiida_fuse2.core.potentials.chgnet.build import BuildError, InstructionSet
from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet

from .agreement import case, evaluate

pytest.importorskip("chgnet")

try:
    build.find_compiler()
except BuildError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def quick_compiler(monkeypatch):
    monkeypatch.setattr(build, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS))


def test_is_built_once_and_found_again(empty_cache, quick_compiler, monkeypatch):
    first = build.library(InstructionSet.BASELINE)
    assert first.parent == empty_cache
    assert [path.name for path in empty_cache.iterdir()] == [first.name]
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("was compiled again"))
    assert build.library(InstructionSet.BASELINE) == first


def test_other_flags_are_another_library(empty_cache, quick_compiler, monkeypatch):
    first = build.library(InstructionSet.BASELINE)
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-fno-math-errno"))
    assert build.library(InstructionSet.BASELINE) != first
    assert len(list(empty_cache.iterdir())) == 2


def test_where_libraries_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv(build.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / "aiida-fuse2"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / ".cache" / "aiida-fuse2"


def test_no_compiler(empty_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(empty_cache))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        NativeChgnet("0.3.0")


def test_compiler_that_fails(empty_cache, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(BuildError, match="false failed"):
        build.library(InstructionSet.BASELINE)
    assert list(empty_cache.iterdir()) == []


def test_own_compiler_with_arguments(monkeypatch):
    monkeypatch.setenv("CXX", f"{sys.executable} -O")
    assert build.find_compiler() == [sys.executable, "-O"]


def test_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(BuildError, match="cannot be written"):
        build.library(InstructionSet.BASELINE)


def test_instruction_set_follows_from_the_processor(monkeypatch):
    for flags, expected in (
        (build.NEEDED[InstructionSet.AVX512], InstructionSet.AVX512),
        ({"avx2", "fma", "avx512f"}, InstructionSet.AVX2),
        ({"sse2"}, InstructionSet.BASELINE),
        (set(), InstructionSet.BASELINE),
    ):
        monkeypatch.setattr(build, "processor_flags", lambda flags=flags: flags)
        assert build.best_instruction_set() is expected


def test_name_says_how_it_is_computed():
    native = NativeChgnet("0.3.0")
    assert native.name == f"chgnet 0.3.0 native {build.best_instruction_set()}"


def test_counts_of_a_crystal():
    native = NativeChgnet("0.3.0")
    evaluate(native, Atoms("Po", cell=[2.9] * 3, pbc=True))  # six neighbours within 3 Å, 32 within 6 Å
    assert native.sizes() == {"bonds": 16, "short_bonds": 3, "angles": 30}


def test_structure_that_is_far_too_dense():
    atoms = Atoms("H60", positions=np.random.default_rng(0).uniform(0, 2.5, (60, 3)), cell=[2.5] * 3, pbc=True)
    with pytest.raises(RelaxationError, match="far too dense"):
        evaluate(NativeChgnet("0.3.0"), atoms)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(value):
    native = NativeChgnet("0.3.0")
    atoms = case("SrTiO3 fgen")
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()
    positions[0, 0] = cell[1, 1] = value
    with pytest.raises(RelaxationError, match="not a number"):
        native.evaluate(atoms.numbers, positions, atoms.cell.array)
    with pytest.raises(RelaxationError, match="cell is flat or not finite"):
        native.evaluate(atoms.numbers, atoms.positions, cell)


def test_needs_neither_torch_nor_chgnet():
    """The model is there in a fraction of the second that importing PyTorch takes."""
    code = (
        "import sys; from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet; "
        "NativeChgnet('0.3.0'); print([m for m in ('torch', 'chgnet', 'pymatgen') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_energy_alone_is_that_of_the_whole_evaluation(perovskite):
    model = NativeChgnet("0.3.0")
    geometry = perovskite.numbers, perovskite.positions, perovskite.cell.array
    whole = model.evaluate(*geometry)
    assert model.energy(*geometry) == whole.energy
    again = model.evaluate(*geometry)
    assert (again.forces == whole.forces).all()
    with pytest.raises(RelaxationError, match="isolated_atom"):
        model.energy(np.array([38]), np.zeros((1, 3)), np.eye(3) * 20)
