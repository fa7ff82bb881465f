"""What is done with kernels that are damaged or somebody else's, and with machines that cannot build one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiida_fuse2.core.potentials.chgnet import build, kernel_cache, native_backend
from aiida_fuse2.core.potentials.chgnet.build import BuildError
from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.io.names import JOB_FILE, RESULTS_FILE, SOFTWARE_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import trials_to_text
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker import main
from tests.kernels import BASELINE, CRYSTAL, need_compiler
from tests.trials import make_trial

from .agreement import evaluate

need_compiler()

STRANGER = 54321
"""A user who is not there."""


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(build, "best_instruction_set", lambda: BASELINE)
    monkeypatch.setattr(native_backend, "best_instruction_set", lambda: BASELINE)
    monkeypatch.setattr("aiida_fuse2.core.relaxers.calculators.best_instruction_set", lambda: BASELINE)
    return tmp_path / "cache"


def planted(folder, marker):
    """Return a library that writes a file as soon as it is loaded."""
    source = folder / "planted.cpp"
    source.write_text(
        '#include <cstdio>\n__attribute__((constructor)) static void planted() { std::fclose(std::fopen("'
        f'{marker}", "w")); }}\n'
    )
    target = folder / "planted.so"
    subprocess.run([*build.find_compiler(), "-shared", "-fPIC", str(source), "-o", str(target)], check=True)
    return target.read_bytes()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def cut_checksum(path):
    os.truncate(path, path.stat().st_size - 1)


def garbage(path):
    path.write_bytes(os.urandom(100_000))


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def without_checksum(path):
    path.write_bytes(path.read_bytes()[: -hashlib.sha256().digest_size])


def symlink(path):
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def for_the_group(path):
    path.chmod(0o660)


def for_all(path):
    path.chmod(0o606)


DAMAGES = (
    empty,
    cut,
    cut_checksum,
    garbage,
    one_bit,
    without_checksum,
    symlink,
    dangling,
    fifo,
    for_the_group,
    for_all,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_kernel_that_is_not_as_it_was_written_is_built_again(damage, cache, compiled, caplog):
    path = build.library(BASELINE)
    damage(path)
    assert build.library_problem() is not None
    model = NativeChgnet("0.3.0")
    assert -5 < evaluate(model, CRYSTAL).energy < -2
    assert len(compiled) == 2
    assert "it is built again" in caplog.text
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert build.library_problem() is None
    NativeChgnet("0.3.0")
    assert len(compiled) == 2


def test_planted_code_does_not_run(cache, compiled, tmp_path):
    path = build.library(BASELINE)
    path.write_bytes(planted(tmp_path, tmp_path / "ran"))
    NativeChgnet("0.3.0")
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_kernel_of_somebody_else_is_built_again(cache, compiled, tmp_path):
    path = build.library(BASELINE)
    code = planted(tmp_path, tmp_path / "ran")
    path.write_bytes(code + hashlib.sha256(code).digest())
    os.chown(path, STRANGER, STRANGER)
    NativeChgnet("0.3.0")
    assert not (tmp_path / "ran").exists()
    assert len(compiled) == 2
    assert path.stat().st_uid == os.geteuid()


def written_by_others(folder, monkeypatch):
    folder.chmod(0o777)
    return "can be written by others"


def written_by_the_group(folder, monkeypatch):
    folder.chmod(0o770)
    return "can be written by others"


def of_somebody_else(folder, monkeypatch):
    monkeypatch.setattr(kernel_cache.os, "geteuid", lambda: STRANGER)
    return f"not to user {STRANGER}"


def a_file(folder, monkeypatch):
    shutil.rmtree(folder)
    folder.write_text("")
    return "cannot be written"


@pytest.mark.parametrize("spoil", [written_by_others, written_by_the_group, of_somebody_else, a_file])
def test_a_folder_that_is_not_the_users_own_is_not_used(spoil, cache, compiled, monkeypatch, caplog):
    build.library(BASELINE)
    expected = spoil(cache, monkeypatch)
    with pytest.raises(BuildError, match=expected):
        NativeChgnet("0.3.0")
    assert len(compiled) == 1
    assert build.library_problem() is not None
    settings = parse_settings(RelaxSettings, protocol_inputs("fast", {})["relax"]["settings"])
    assert make_evaluator(settings).name == "chgnet 0.3.0 torch"
    assert expected in caplog.text


@pytest.mark.parametrize("spoil", [empty, cut, garbage])
def test_a_kernel_in_use_does_not_change_with_its_file(spoil, cache, compiled):
    model = NativeChgnet("0.3.0")
    before = evaluate(model, CRYSTAL).energy
    spoil(build.library(BASELINE))
    native_backend._load.cache_clear()
    assert evaluate(model, CRYSTAL).energy == before  # and not a bus error


def test_two_kernels_in_one_process_are_two(cache, compiled, kernel, monkeypatch):
    first = native_backend.load_kernel(BASELINE)
    assert native_backend.load_kernel(BASELINE) is first
    monkeypatch.setattr(build, "_compile", lambda *_: kernel + b"\0")
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    assert native_backend.load_kernel(BASELINE)._handle != first._handle


def test_without_memory_files(cache, compiled, monkeypatch):
    native_backend._load.cache_clear()
    monkeypatch.delattr(os, "memfd_create")
    assert evaluate(NativeChgnet("0.3.0"), CRYSTAL).energy < 0


def test_a_library_that_does_not_load(cache, monkeypatch):
    monkeypatch.setattr(build, "_compile", lambda *_: b"for another machine")
    with pytest.raises(BuildError, match="cannot be loaded"):
        NativeChgnet("0.3.0")


def test_other_c_library_is_another_kernel(cache, compiled, monkeypatch):
    build.library(BASELINE)
    monkeypatch.setattr(build, "_c_library", lambda: ["glibc 2.17"])
    build.library(BASELINE)
    assert len(compiled) == len(list(cache.iterdir())) == 2


def test_disk_that_fills_up(cache, compiled, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BuildError, match="No space left"):
        build.library(BASELINE)
    assert list(cache.iterdir()) == []


def test_what_a_killed_process_left_is_removed(cache, compiled):
    path = build.library(BASELINE)
    (cache / f".{path.name}.0123").write_bytes(b"unfinished")
    path.unlink()
    build.library(BASELINE)
    assert list(cache.iterdir()) == [path]


def test_folders_that_are_none(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(build.CACHE_VARIABLE, "cache")
    with pytest.raises(BuildError, match="no absolute path"):
        build.cache_folder()
    monkeypatch.delenv(build.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert build.cache_folder() == tmp_path / "home" / ".cache" / "aiida-fuse2"
    monkeypatch.setenv("HOME", "home")
    with pytest.raises(BuildError, match="no absolute path"):
        build.cache_folder()

    def nobody():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(BuildError, match="no home directory"):
        NativeChgnet("0.3.0")


def compiler_script(tmp_path, monkeypatch, kernel, before=""):
    """Let a script stand in for the compiler; it notes that it began, and copies the kernel."""
    (tmp_path / "kernel.so").write_bytes(kernel)
    script = tmp_path / "compiler"
    copy = f'while [ "$1" != -o ]; do shift; done\ncp {tmp_path}/kernel.so "$2"\n'
    script.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/begun\n{before}\n{copy}")
    script.chmod(0o700)
    monkeypatch.setenv("CXX", str(script))


def pids(tmp_path):
    return [int(line) for line in (tmp_path / "begun").read_text().split()]


def is_alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def start_process():
    code = (
        "from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet, InstructionSet; "
        "NativeChgnet('0.3.0', instruction_set=InstructionSet.BASELINE)"
    )
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ)


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_one_process_builds_and_the_others_wait(cache, kernel, tmp_path, monkeypatch):
    compiler_script(tmp_path, monkeypatch, kernel, before="sleep 2")
    processes = [start_process() for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert len(pids(tmp_path)) == 1
    assert [path.name for path in cache.iterdir()] == [build.library(BASELINE).name]


def test_a_process_killed_while_it_builds_blocks_no_other(cache, kernel, tmp_path, monkeypatch):
    compiler_script(tmp_path, monkeypatch, kernel, before=f"[ -e {tmp_path}/again ] || exec sleep 100")
    first = start_process()
    wait_for(lambda: (tmp_path / "begun").exists() and pids(tmp_path))
    first.kill()
    first.wait()
    (tmp_path / "again").touch()
    assert build.library(BASELINE).is_file()
    (abandoned, _) = pids(tmp_path)
    os.kill(abandoned, signal.SIGKILL)


def test_a_compiler_that_hangs_ends_with_its_children(cache, kernel, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "TIMEOUT", 0.5)
    compiler_script(tmp_path, monkeypatch, kernel, before=f"sleep 100 & echo $! >> {tmp_path}/begun; wait")
    with pytest.raises(BuildError, match="took longer than"):
        build.library(BASELINE)
    assert len(pids(tmp_path)) == 2
    wait_for(lambda: not any(map(is_alive, pids(tmp_path))))
    assert list(cache.iterdir()) == []


def test_a_compiler_that_makes_nothing(cache, monkeypatch):
    monkeypatch.setenv("CXX", "true")
    with pytest.raises(BuildError, match="true failed"):
        build.library(BASELINE)


def test_waiting_has_an_end(cache, compiled, monkeypatch):
    monkeypatch.setattr(kernel_cache, "LONGEST_WAIT", 0)
    busy = pytest.raises(BuildError, match="another process has been building")
    with kernel_cache.opened(cache) as place, kernel_cache.alone(place), busy:
        build.library(BASELINE)
    assert compiled == []


def test_results_and_log_say_that_there_is_no_kernel(cache, compiled, tmp_path, monkeypatch, capsys):
    cache.mkdir()
    cache.chmod(0o777)
    settings = protocol_inputs("fast", {})["relax"]["settings"] | {"max_steps": 1}
    (tmp_path / JOB_FILE).write_text(json.dumps({"settings": settings, "labels": None}))
    (tmp_path / TRIALS_FILE).write_text(trials_to_text([make_trial(0, CRYSTAL)]))
    monkeypatch.chdir(tmp_path)
    assert main(["relax"]) == 0
    assert "can be written by others" in json.loads((tmp_path / SOFTWARE_FILE).read_text())["native kernel"]
    assert json.loads((tmp_path / RESULTS_FILE).read_text().splitlines()[0])["potential"] == "chgnet 0.3.0 torch"
    assert "PyTorch computes CHGNet" in capsys.readouterr().err
