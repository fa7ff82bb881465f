"""Which kernel of CHGNet is used: that of the installation, or one that is built here."""

import subprocess

import pytest

from aiida_fuse2.core.potentials.chgnet import build, native_backend
from aiida_fuse2.core.potentials.chgnet.build import BuildError, InstructionSet
from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet
from aiida_fuse2.worker import main
from tests.kernels import BASELINE, CRYSTAL, need_compiler

need_compiler()


@pytest.fixture
def installed(monkeypatch, tmp_path, compiled):
    """An installation that brings kernels, and a machine without a compiler."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.setattr(build, "PACKAGED", folder)
    paths = build.build_packaged(folder)
    compiled.clear()

    def no_compiler():
        raise BuildError("there is no C++ compiler")

    monkeypatch.setattr(build, "find_compiler", no_compiler)
    return paths


def energy(model):
    return model.evaluate(CRYSTAL.numbers, CRYSTAL.positions, CRYSTAL.cell.array).energy


def test_there_is_a_kernel_for_each_instruction_set_of_the_machine(monkeypatch, compiled, tmp_path):
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    names = [path.name for path in build.build_packaged(tmp_path)]
    assert compiled == list(InstructionSet)
    assert [name.rpartition("-")[2] for name in names] == ["avx512.so", "avx2.so", "baseline.so"]
    monkeypatch.setattr(build.platform, "machine", lambda: "aarch64")
    assert [path.name.rpartition("-")[2] for path in build.build_packaged(tmp_path)] == ["baseline.so"]
    assert not {path.name for path in build.build_packaged(tmp_path)} & set(names)  # for another kind of machine


def test_a_checkout_brings_none():
    assert [build.packaged(instruction_set) for instruction_set in InstructionSet] == [None] * 3


def test_the_kernel_of_the_installation_is_used_where_nothing_can_be_built(installed, compiled, tmp_path):
    assert build.packaged(BASELINE) in installed
    assert build.library_problem() is None
    assert -5 < energy(NativeChgnet("0.3.0")) < -2  # chosen for this processor
    assert compiled == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", ["sources", "flags"])
def test_a_kernel_of_other_sources_or_flags_is_not_used(installed, monkeypatch, tmp_path, change):
    if change == "flags":
        monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    else:
        sources = tmp_path / "native"
        sources.mkdir()
        for path in build._sources().iterdir():
            (sources / path.name).write_bytes(path.read_bytes())
        with (sources / "kernel.cpp").open("a") as stream:
            stream.write("\n")
        monkeypatch.setattr(build, "_sources", lambda: sources)
    assert build.packaged(BASELINE) is None
    assert build.library_problem() == "there is no C++ compiler"
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        NativeChgnet("0.3.0", instruction_set=BASELINE)


def test_where_the_kernel_of_the_installation_does_not_load_one_is_built(
    installed, compiled, monkeypatch, tmp_path, caplog
):
    build.packaged(BASELINE).write_bytes(b"for another machine")
    native_backend._load.cache_clear()
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        native_backend.load_kernel(BASELINE)
    monkeypatch.setattr(build, "find_compiler", lambda: ["c++"])
    assert -5 < energy(NativeChgnet("0.3.0", instruction_set=BASELINE)) < -2
    assert compiled == [BASELINE]
    assert (tmp_path / "cache").is_dir()
    assert "the kernel of the package cannot be loaded, and one is built here" in caplog.text


def test_worker_builds_ahead_for_all_processors(compiled, capsys, tmp_path):
    assert main(["build"]) == 0
    assert compiled == build.instruction_sets()
    printed = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert list(printed) == build.instruction_sets()
    assert set(printed.values()) == {str(path) for path in (tmp_path / "cache").iterdir()}
    assert main(["build"]) == 0
    assert compiled == build.instruction_sets()  # they are there


def test_worker_builds_nothing_that_the_installation_brings(installed, compiled, capsys):
    assert main(["build"]) == 0
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == [str(path) for path in installed]
    assert compiled == []


def test_worker_says_why_it_cannot_build(compiled, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(build, "COMPILERS", ("nor-this-one",))
    assert main(["build"]) == 1
    assert capsys.readouterr().err == "error: there is no C++ compiler (tried $CXX, nor-this-one)\n"


def test_hook_and_jobs_use_the_same_flags(compiled, monkeypatch, tmp_path):
    """The same command compiles both, so that they give the same numbers."""
    commands = []
    monkeypatch.undo()

    def run(command, errors):
        commands.append([*command[:-3], *command[-2:-1]])  # without files
        return subprocess.run(["sh", "-c", 'echo > "$1"', "sh", command[-1]], check=True).returncode

    monkeypatch.setattr(build, "_run", run)
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    build.build_packaged(tmp_path)
    built = list(commands)
    commands.clear()
    for instruction_set in build.instruction_sets():
        build.library(instruction_set)
    assert commands == built
    assert len(commands) == len(build.instruction_sets())
