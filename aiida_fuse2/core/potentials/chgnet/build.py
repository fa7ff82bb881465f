"""Builds the native kernel where it is first needed, and finds it again.

One library per instruction set, named after what went into it, so that machines of one cluster that share a home
directory do not get in each other's way. Nothing is downloaded: the sources are part of this package, and the
compiler is the machine's own.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

CACHE_VARIABLE = "AIIDA_FUSE2_CACHE"
"""Environment variable with the folder of built libraries; ``~/.cache/aiida-fuse2`` by default."""

COMPILERS = ("c++", "g++", "clang++")
"""Commands tried in turn, after that of the environment variable ``CXX``."""

FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-ffp-contract=fast",
)
"""Nothing among them changes a result by more than the order of operations; not-a-number stays detectable."""

TIMEOUT = 300
"""Longest time a compiler is given, s; it takes a few."""


class InstructionSet(StrEnum):
    """What the kernel can be built for."""

    AVX512 = "avx512"
    AVX2 = "avx2"
    BASELINE = "baseline"


SET_FLAGS = {
    InstructionSet.AVX512: (
        *("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"),
        *("-mtune=skylake-avx512", "-mprefer-vector-width=512"),
    ),
    InstructionSet.AVX2: ("-mavx2", "-mfma", "-mtune=haswell"),
    InstructionSet.BASELINE: (),
}
"""Flags of GCC and Clang for each instruction set."""

NEEDED = {
    InstructionSet.AVX512: {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma"},
    InstructionSet.AVX2: {"avx2", "fma"},
    InstructionSet.BASELINE: set[str](),
}
"""What a processor must have for each, as Linux names it."""


class BuildError(RuntimeError):
    """The kernel cannot be built here; the message says why."""


def processor_flags() -> set[str]:
    """Return what the processor can do, by Linux' names; empty where it does not say."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return set()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def best_instruction_set() -> InstructionSet:
    """Return the widest instruction set of this processor."""
    found = processor_flags()
    return next(s for s in InstructionSet if NEEDED[s] <= found)


def library(instruction_set: InstructionSet) -> Path:
    """Return the path of the kernel for an instruction set, built if need be.

    Raises:
        BuildError: where there is no compiler, it fails, or no folder can be written.
    """
    name = f"chgnet-{_key(instruction_set)}-{instruction_set}.so"
    folder = cache_folder()
    path = folder / name
    if path.exists():
        return path
    compiler = find_compiler()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / name
            _compile(compiler, instruction_set, built)
            built.replace(path)  # in one go: another process may be building the same
    except OSError as error:
        raise BuildError(f"the kernel cannot be written to {folder}: {error}") from error
    return path


def cache_folder() -> Path:
    """Return the folder of built libraries."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "aiida-fuse2"


def find_compiler() -> list[str]:
    """Return the command of a C++ compiler.

    Raises:
        BuildError: where there is none.
    """
    own = shlex.split(os.environ.get("CXX", ""))
    for command in ([own] if own else []) + [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise BuildError(f"there is no C++ compiler (tried $CXX, {', '.join(COMPILERS)})")


def _sources() -> Path:
    return Path(str(files(__package__) / "native"))


def _key(instruction_set: InstructionSet) -> str:
    """Return what tells builds apart: sources and flags."""
    digest = hashlib.sha256(" ".join((*FLAGS, *SET_FLAGS[instruction_set])).encode())
    for path in sorted(_sources().iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(compiler: list[str], instruction_set: InstructionSet, target: Path) -> None:
    command = [*compiler, *FLAGS, *SET_FLAGS[instruction_set], str(_sources() / "kernel.cpp"), "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise BuildError(f"{shlex.join(compiler)} took longer than {TIMEOUT} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise BuildError(f"{shlex.join(compiler)} failed: {lines[0] if lines else done.returncode}")
