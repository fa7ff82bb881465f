"""Run the commands of the tutorials as a reader types them, and put what they print into the pages.

    python docs/run_tutorials.py                               # all pages: do they still work?
    python docs/run_tutorials.py --update docs/tutorial/hull.md
    python docs/run_tutorials.py --keep FOLDER docs/tutorial/hull.md

Every command of a ``console`` block is run, in order, each page in an empty folder beside a fresh AiiDA folder with a
daemon of its own. A comment in front of a block makes an exception:

``% not run``: nothing is run, e.g. since it would install something.
``% fails``: the last command ends with an error, on purpose.

A line ``...`` in what a command has printed stands for lines left out; ``--update`` keeps as many before and after
it as there were. Primary keys that a command has printed are followed: where the page says 12 and AiiDA gives 40, later
commands are run with 40.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.potcars import ENMAX, potcar  # noqa: E402 - not installed

PAGES = ROOT / "docs" / "tutorial"

COLUMNS = "120"
"""Width of the reader's terminal."""

BLOCK = re.compile(r"(?:^% (?P<mark>not run|fails)[^\n]*\n)?^```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<\s*'?(\w+)'?")
PK_OPTIONS = {"--pool", "--baseline", "--pair-library"}
ELLIPSIS = "..."

PROGRESS = re.compile(r"\s*(generation \d+: |(refinement|finish) \d+ of \d+ structures?: )")
"""Begin of the lines that tell how far something is; how many there are, and what they say, depends on the machine."""


class TutorialError(Exception):
    """A page does not do what it shows."""


@dataclass
class Command:
    """A command of a page.

    Attributes:
        text: what is typed, continued lines and here-documents included.
        shown: the lines that the page shows as its output.
        fails: whether it is meant to.
    """

    text: str
    shown: list[str] = field(default_factory=list)
    fails: bool = False


@dataclass
class Result:
    """What became of a command.

    Attributes:
        command: as the page has it.
        text: as it was run, with the primary keys of this profile.
        printed: the lines of its output, paths shortened.
    """

    command: Command
    text: str
    printed: list[str]


def commands_of(body: str) -> list[Command]:
    """Return the commands of the body of a console block.

    Raises:
        TutorialError: if it does not begin with a command.
    """
    commands: list[Command] = []
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith("$ "):
            commands.append(Command(_typed(line.removeprefix("$ "), lines)))
        elif commands:
            commands[-1].shown.append(line)
        else:
            raise TutorialError(f"a console block begins with {line!r} and not with a command")
    return commands


def _typed(first: str, rest: Iterator[str]) -> str:
    typed = [first]
    while typed[-1].endswith("\\"):
        typed.append(next(rest))
    if found := HEREDOC.search(first):
        typed.extend(iter(lambda: next(rest), found[1]))
        typed.append(found[1])
    return "\n".join(typed)


def commands_of_page(text: str) -> list[Command]:
    """Return all commands of a page that are run."""
    commands = []
    for block in BLOCK.finditer(text):
        if block["mark"] != "not run":
            of_block = commands_of(block["body"])
            of_block[-1].fails = block["mark"] == "fails"
            commands += of_block
    return commands


def prepare(page: str, folder: Path) -> None:
    """Put files into a folder that the reader of a page has; POTCARs are licensed, so here they have no data."""
    if page == "vasp":
        for element, enmax in ENMAX.items():
            path = folder / "potpaw_PBE.54" / element / "POTCAR"
            path.parent.mkdir(parents=True)
            path.write_text(potcar(element, enmax))


# --- running --------------------------------------------------------------------------------------


class Reader:
    """Somebody with a terminal, a home folder, and a profile once ``setup`` was run.

    Args:
        home: an empty folder for AiiDA's data and the files of the pages.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "AIIDA_PATH": str(self.home), "PATH": path, "COLUMNS": COLUMNS}
        self.environment.setdefault("OMP_NUM_THREADS", "1")

    def type(self, text: str, folder: Path) -> tuple[int, str]:
        """Run a command in a folder; return its exit code and what it printed, errors included."""
        done = subprocess.run(  # noqa: S603 - the commands of our own pages
            ["/bin/bash", "-o", "pipefail", "-c", text],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def set_up(self) -> None:
        """Make the profile that the pages after the first one need, unless it is there."""
        if (self.home / ".aiida" / "config.json").exists():
            return
        code, printed = self.type("aiida-fuse2 setup -n", self.home)
        if code:
            raise TutorialError(printed)

    def leave(self) -> None:
        """Stop the daemon."""
        self.type("verdi daemon stop", self.home)

    def shortened(self, printed: str) -> list[str]:
        """Return the lines of an output, with paths as a reader has them."""
        for path, name in ((self.home, ""), (Path(sys.prefix), "aiida-fuse2/.venv"), (ROOT, "aiida-fuse2")):
            printed = printed.replace(str(path), f"/home/you/{name}".rstrip("/"))
        # what a carriage return has written over, a reader does not see
        lines = [line.rstrip().rpartition("\r")[2].rstrip() for line in printed.rstrip().split("\n")]
        return lines if any(lines) else []

    def follow(self, text: str, folder: Path) -> list[Result]:
        """Run the commands of a page in a folder.

        Raises:
            TutorialError: if one fails that should not, or does not fail and should.
        """
        folder.mkdir(parents=True, exist_ok=True)
        keys: dict[str, str] = {}
        results = []
        for command in commands_of_page(text):
            typed = with_keys(command.text, keys)
            code, printed = self.type(typed, folder)
            if (code != 0) != command.fails:
                raise TutorialError(f"$ {typed}\n{printed}\nexit code {code}")
            results.append(Result(command, typed, self.shortened(printed)))
            for of_page, of_profile in zip(keys_in(command.shown), keys_in(results[-1].printed), strict=True):
                keys.update(zip(of_page, of_profile, strict=False))
        return results


def keys_in(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the primary keys in an output: those that are announced, and those in the last column of tables."""
    announced = re.findall(r"\bPK (\d+)", "\n".join(lines))
    rows, in_table = [], False
    for line in lines:
        in_table = line.endswith(" PK") or (in_table and bool(line))
        if in_table and (found := re.match(r"\s*\d.* (\d+)$", line)):
            rows.append(found[1])
    return announced, rows


def with_keys(text: str, keys: dict[str, str]) -> str:
    """Return a command with other primary keys: numbers that are arguments, or follow an option that takes a key."""
    if not text.startswith(("aiida-fuse2 ", "verdi ")):
        return text
    parts = re.split(r"(\s+)", text)
    for i in range(2, len(parts), 2):
        if not parts[i - 2].startswith("-") or parts[i - 2] in PK_OPTIONS:
            parts[i] = keys.get(parts[i], parts[i])
    return "".join(parts)


# --- what is shown --------------------------------------------------------------------------------


def form(line: str) -> str:
    """Return a line of an output without what differs from machine to machine.

    Numbers and space groups may, and with them the reasons of failures, and which structures a table has.
    """
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)
    line = re.sub(r"(failures|failed): [^;]*", r"\1", line)
    line = re.sub(r"[-+−]?\d[\d.,]*", "#", line)
    line = re.sub(r"\b[PIFABCR]\S* \(#\)", "SPACEGROUP", line)
    line = re.sub(r"[─━]+", "─", " ".join(line.split()))
    return "row" if re.match(r"[│|]? ?# ", line) else line


def lines_missing(result: Result) -> list[str]:
    """Return the lines that the page shows below a command and that it did not print, in form; progress may differ."""
    printed = {form(line) for line in result.printed}
    shown = [line for line in result.command.shown if line not in {ELLIPSIS, ""} and not PROGRESS.match(line)]
    return [line for line in shown if form(line) not in printed]


def updated(text: str, results: list[Result]) -> str:
    """Return a page with what its commands have printed."""
    left = iter(results)

    def renew(block: re.Match[str]) -> str:
        if block["mark"] == "not run":
            return block[0]
        body = "".join(_shown(next(left)) for _ in commands_of(block["body"]))
        return block[0].replace(block["body"], body, 1)

    return BLOCK.sub(renew, text)


def _shown(result: Result) -> str:
    lines, shown = result.printed, result.command.shown
    if ELLIPSIS in shown:
        before = shown.index(ELLIPSIS)
        after = len(shown) - before - 1
        if before + after < len(lines):
            lines = [*lines[:before], ELLIPSIS, *lines[len(lines) - after :]]
    return "\n".join([f"$ {result.text}", *lines, ""])


def main() -> int:
    """Run pages; return the exit code."""
    parser = argparse.ArgumentParser(description="Run the commands of the tutorials.")
    parser.add_argument("pages", nargs="*", type=Path, help="by default all")
    parser.add_argument("--update", action="store_true", help="put what the commands print into the pages")
    parser.add_argument("--keep", type=Path, help="use this folder and leave the files there")
    arguments = parser.parse_args()
    wrong = 0
    for page in arguments.pages or sorted(PAGES.glob("*.md")):
        with tempfile.TemporaryDirectory(prefix="fuse2-") as folder:
            home = (arguments.keep or Path(folder)) / page.stem
            if home.exists():
                parser.error(f"{home} is there already: a page needs an empty folder")
            home.mkdir(parents=True)
            wrong += _run(page, Reader(home), update=arguments.update)
    return 1 if wrong else 0


def _run(page: Path, reader: Reader, *, update: bool) -> int:
    text = page.read_text(encoding="utf-8")
    try:
        if not any(command.text.startswith("aiida-fuse2 setup") for command in commands_of_page(text)[:1]):
            reader.set_up()
        prepare(page.stem, reader.home / "work")
        results = reader.follow(text, reader.home / "work")
    except TutorialError as error:
        print(f"{page.name}: {error}")
        return 1
    finally:
        reader.leave()
    if update:
        page.write_text(updated(text, results), encoding="utf-8")
        return 0
    missing = [(result.text, line) for result in results for line in lines_missing(result)]
    for command, line in missing:
        print(f"{page.name}: $ {command}\n  did not print: {line}")
    return len(missing)


if __name__ == "__main__":
    sys.exit(main())
