"""Finds the native kernel in the installed package, or builds it when it is first needed and stores it.

One library per instruction set, named after its sources and flags, so that machines of one cluster that share a home
directory do not disturb each other, and that a kernel of other sources is never loaded. Nothing is downloaded: a wheel
contains its kernels; otherwise the sources are part of this package, and the compiler is that of the machine.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from .kernel_cache import CacheError, alone, opened, read, write

LOGGER = logging.getLogger(__name__)

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


PACKAGED = "built"
"""Folder of this package with the kernels of a wheel; a checkout has none."""


class InstructionSet(StrEnum):
    """Instruction sets that the kernel can be built for."""

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
"""Features that a processor must have for each, by their names in Linux."""


class BuildError(RuntimeError):
    """There is no kernel; the message says why."""


def processor_flags() -> set[str]:
    """Return the features of the processor, by their names in Linux; empty if it does not say."""
    if not _is_x86():
        return set()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def _is_x86() -> bool:
    """Return whether this is a kind of machine with several instruction sets."""
    return platform.machine() in {"x86_64", "AMD64"}


def instruction_sets() -> list[InstructionSet]:
    """Return the instruction sets for this kind of machine, whether its own processor has them or not."""
    return list(InstructionSet) if _is_x86() else [InstructionSet.BASELINE]


def best_instruction_set() -> InstructionSet:
    """Return the widest instruction set of this processor."""
    found = processor_flags()
    return next(s for s in InstructionSet if NEEDED[s] <= found)


def packaged(instruction_set: InstructionSet) -> Path | None:
    """Return the kernel of this installation; None if it has none, or one of other sources or flags."""
    path = _package() / PACKAGED / _packaged_name(instruction_set)
    return path if path.is_file() else None


def build_packaged(folder: Path) -> list[Path]:
    """Build the kernels for a wheel, one for each instruction set of this kind of machine.

    Args:
        folder: existing folder for the kernels.

    Raises:
        BuildError: if there is no compiler, or it fails.
    """
    compiler = find_compiler()
    paths = []
    for instruction_set in instruction_sets():
        paths.append(folder / _packaged_name(instruction_set))
        paths[-1].write_bytes(_compile(compiler, instruction_set))
    return paths


def library(instruction_set: InstructionSet) -> Path:
    """Return the path of the kernel for an instruction set, built if necessary, and again if it is damaged.

    One process builds it; others that need the same kernel wait.

    Raises:
        BuildError: if there is no compiler, it fails, or there is no folder that can be written, by the user only.
    """
    folder, name = cache_folder(), _name(instruction_set)
    try:
        with opened(folder) as place:
            if _sound(place, name):
                return folder / name
            compiler = find_compiler()
            with alone(place):
                if not _sound(place, name):
                    write(place, name, _compile(compiler, instruction_set))
    except CacheError as error:
        raise BuildError(str(error)) from error
    except OSError as error:
        raise BuildError(f"the kernel cannot be written to {folder}: {error}") from error
    return folder / name


def library_content(path: Path) -> bytes:
    """Return the content of a kernel in the cache.

    Raises:
        BuildError: if it is not there, damaged, or not the user's own.
    """
    try:
        with opened(path.parent) as place:
            content = read(place, path.name)
    except (OSError, CacheError) as error:
        raise BuildError(f"no kernel from {path.parent}: {error}") from error
    if content is None:
        raise BuildError(f"there is no kernel {path}")
    return content


def library_problem() -> str | None:
    """Return why there is no native kernel on this machine, or is one that will be built again; nothing is built."""
    if packaged(best_instruction_set()) is not None:
        return None
    try:
        folder, name = cache_folder(), _name(best_instruction_set())
        if not folder.exists():
            find_compiler()
            return None
        with opened(folder) as place:
            if read(place, name) is None:
                find_compiler()
                if not os.access(folder, os.W_OK):
                    return f"the folder {folder} cannot be written"
    except (BuildError, CacheError, OSError) as error:
        return str(error)
    return None


def _name(instruction_set: InstructionSet) -> str:
    return f"chgnet-{kernel_key(instruction_set, *_c_library())}-{instruction_set}.so"


def _packaged_name(instruction_set: InstructionSet) -> str:
    return f"chgnet-{kernel_key(instruction_set)}-{instruction_set}.so"  # the tag of the wheel names the C library


def _sound(place: int, name: str) -> bool:
    """Return whether there is a kernel that can be used."""
    try:
        return read(place, name) is not None
    except CacheError as error:
        LOGGER.warning("%s; it is built again", error)
        return False


def cache_folder() -> Path:
    """Return the folder of built libraries.

    Raises:
        BuildError: if no absolute path follows from the environment; files in the folder of a job are
            not trusted.
    """
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        folder = Path(own)
    elif Path(base := os.environ.get("XDG_CACHE_HOME", "")).is_absolute():  # a relative one is to be ignored
        folder = Path(base) / "aiida-fuse2"
    else:
        folder = _home() / ".cache" / "aiida-fuse2"
    if not folder.is_absolute():
        raise BuildError(f"the cache {folder} is no absolute path; set {CACHE_VARIABLE} to one")
    return folder


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise BuildError(f"there is no home directory; set {CACHE_VARIABLE} to a folder") from error


def find_compiler() -> list[str]:
    """Return the command of a C++ compiler.

    Raises:
        BuildError: if there is none.
    """
    own = shlex.split(os.environ.get("CXX", ""))
    for command in ([own] if own else []) + [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise BuildError(f"there is no C++ compiler (tried $CXX, {', '.join(COMPILERS)})")


def _package() -> Path:
    return Path(str(files(__package__)))


def _sources() -> Path:
    return _package() / "native"


def kernel_key(instruction_set: InstructionSet, *more: str) -> str:
    """Return what distinguishes builds: sources, flags, the kind of machine, and further parts."""
    parts = (*FLAGS, *SET_FLAGS[instruction_set], platform.machine(), *more)
    digest = hashlib.sha256(" ".join(parts).encode())
    for path in sorted(_sources().iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _c_library() -> list[str]:
    """Return name and version of the C library, if it is known; a kernel built with a newer one may not load."""
    with suppress(ValueError, OSError):
        return [os.confstr("CS_GNU_LIBC_VERSION") or ""]
    return []


def _compile(compiler: list[str], instruction_set: InstructionSet) -> bytes:
    """Return the library that a compiler makes."""
    with tempfile.TemporaryDirectory() as scratch:
        built, errors = Path(scratch) / "kernel.so", Path(scratch) / "errors"
        flags = [*FLAGS, *SET_FLAGS[instruction_set]]
        code = _run([*compiler, *flags, str(_sources() / "kernel.cpp"), "-o", str(built)], errors)
        if code is None:
            raise BuildError(f"{shlex.join(compiler)} took longer than {TIMEOUT} s")
        if code != 0 or not built.is_file():
            text = errors.read_text(errors="replace").splitlines()
            lines = [line for line in text if "error" in line] or text
            raise BuildError(f"{shlex.join(compiler)} failed: {lines[0] if lines else code}")
        return built.read_bytes()


def _run(command: list[str], errors: Path) -> int | None:
    """Return the exit code of a command, or None if it took too long; all its children end with it."""
    with errors.open("w") as stream:  # a pipe would be kept open by a child that hangs
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            return process.wait(TIMEOUT)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
