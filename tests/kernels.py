"""Fixtures for the native kernel of CHGNet: one that is compiled once, and a compiler that only seems to run."""

from __future__ import annotations

import pytest
from ase import Atoms

from aiida_fuse2.core.potentials.chgnet import build
from aiida_fuse2.core.potentials.chgnet.build import BuildError, InstructionSet

BASELINE = InstructionSet.BASELINE
CRYSTAL = Atoms("Cu", cell=[2.5] * 3, pbc=True)


def need_compiler():
    """Leave a module out where CHGNet or a compiler is missing."""
    pytest.importorskip("chgnet")
    try:
        build.find_compiler()
    except BuildError as error:
        pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="session")
def kernel():
    """A real kernel, compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS))
        return build._compile(build.find_compiler(), BASELINE)


@pytest.fixture
def compiled(monkeypatch, tmp_path, kernel):
    """Compile nothing, and keep what was asked for; the cache is a folder that is not there yet."""
    asked = []
    monkeypatch.setattr(build, "_compile", lambda _, instruction_set: asked.append(instruction_set) or kernel)
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    return asked
