"""Let the disk run full under a search, at several moments and in two ways, and see what becomes of it.

The profile lies on a small file system in memory. It is mounted in a namespace of its own (``unshare``): nothing else
on the machine sees it, and it is gone with the last process. Run by hand::

    python -m tests.faults.disk_full /tmp/full

``taken``: at each moment all space is taken for a while; nothing can be stored, so nothing can end. Room is made, and
what the doctor says is done.
``nearly``: some space is left, but less than the search wants (``settings.min_free_disk``). Each search is then
continued, and compared with one that was not disturbed. One line of JSON for each goes to FOLDER.jsonl, what the
daemon logged to FOLDER.logs. Ends with 1 where one came out different.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from .harness import Trials

OWN_MOUNTS = "FUSE2_OWN_MOUNTS"
"""Environment variable that is set in the namespace."""

MOMENTS = ("propose", "uploading", "withscheduler", "retrieving", "parsing", "decide")

WAYS = ("taken", "nearly")

LEAST = 0.016
"""Free space below which a search ends, GB; the profile takes about a quarter of the disk."""

TAKES = 5
"""How often what is left is taken at once, at most: it all takes less than a millisecond."""

TEXT = "no space is left"
"""What every command says where nothing can be stored."""


def with_mounts_of_its_own(*command):
    """Return a command that runs another one in a mount namespace; who is not root becomes so in it."""
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), *command]


def mount_problem(folder):
    """Return why no file system can be mounted on a folder, or None."""
    for name in ("unshare", "mount"):
        if shutil.which(name) is None:
            return f"there is no command {name!r}"
    command = with_mounts_of_its_own(*mount(folder, 1))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def mount(folder, megabytes):
    """Return the command that mounts an empty file system in memory on a folder."""
    return ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]


class Ballast:
    """A file that takes all space of a file system."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ballast"

    def take(self, leave=0):
        """Take all but some space, bytes; as others write meanwhile, what they leave."""
        with self.path.open("ab") as stream:
            for _ in range(TAKES):
                free = shutil.disk_usage(self.path.parent).free
                if free <= leave:
                    return
                with contextlib.suppress(OSError):  # some of it was taken in this moment
                    os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, int(free - leave))

    def hold(self, seconds):
        """Take everything for a while, and what becomes free meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take()
            time.sleep(0.05)

    def drop(self):
        """Give everything back."""
        self.path.unlink(missing_ok=True)


def integrity(trials):
    """Return what SQLite says about the database of the profile; ``ok`` if nothing is wrong."""
    from aiida.manage import get_manager

    path = Path(get_manager().get_profile().storage_config["filepath"]) / "database.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60) as connection:
        return ", ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))


def condition(trials, search):
    """Return in a few words how a search is."""
    from aiida import orm

    node = orm.load_node(search)
    words = [str(node.process_state.value)]
    if node.is_finished:
        words.append(f"[{node.exit_status}] {node.exit_message or ''}")
    if node.is_excepted:
        words.append(str(node.exception))
    paused = sum(child.paused for child in node.called_descendants) + node.paused
    return " ".join(words) + (f", {paused} paused" if paused else "")


def told(trials, search):
    """Return whether each command for users says that the disk is full, and who knows how to go on."""
    commands = {"doctor": ["doctor"], "status": ["status", search], "show": ["show", search]}
    answers = {name: trials.run("aiida-fuse2", *words, check=False).stderr for name, words in commands.items()}
    return {name: TEXT in text and "aiida-fuse2 doctor" in text for name, text in answers.items()}


def fill(trials, way, search, options):
    """Let the disk run full, and see what is then the case; return the rest of the row."""
    ballast = Ballast(trials.folder)
    row = {"different": []}
    if way == "taken":
        ballast.hold(options.hold)
        row["while full"] = condition(trials, search)
        ballast.take()
        row["told"] = told(trials, search)
        row["different"] += [f"{name} says nothing" for name, said in row["told"].items() if not said]
    else:
        ballast.take(LEAST * 1e9 / 2)
        trials.wait(search)
        row["while full"] = condition(trials, search)
        row["different"] += [] if trials.unsealed(search) == 0 else ["not sealed while full"]
    row["integrity"] = [integrity(trials)]
    ballast.drop()
    return row


def go_on(trials, search):
    """Wait for a search and continue it where it ended without all structures; return the one that ended, and steps."""
    trials.wait(search)
    steps = list(trials.advice)
    if not condition(trials, search).startswith("finished [0]"):
        steps.append("aiida-fuse2 continue")
        done = trials.run("aiida-fuse2", "continue", search, "--no-wait", "--json")
        search = json.loads(done.stdout)["pk"]
        trials.wait(search)
    return search, steps


def disk_full(trials, way, moment, options, reference):
    """Fill the disk at a moment of a search; return the row."""
    trials.advice = []
    first = trials.submit(options.structures, least=LEAST if way == "nearly" else 0.0)
    row = {"way": way, "moment": moment, "search": first, "reached": trials.wait_for_phase(first, moment)}
    row |= fill(trials, way, first, options)
    last, row["steps"] = go_on(trials, first)
    row["first search"], row["last search"] = condition(trials, first), condition(trials, last)
    row["integrity"].append(integrity(trials))
    row["different"] += [key for key, value in trials.outcome(last).items() if value != reference[key]]
    row["different"] += [f"archive of {search}" for search in sorted({first, last}) if not trials.archive(search)]
    row["different"] += [] if trials.is_safe else ["files of the user"]
    return row


def run_moments(options):
    """Run the reference, and one search for each way and moment; return the rows."""
    rows = []
    trials = Trials(options.folder)
    try:
        reference = trials.run_reference(options.structures)
        for way, moment in itertools.product(options.ways, options.moments):
            if way == "nearly" and moment != options.moments[-1]:
                continue  # looked at between generations
            rows.append(disk_full(trials, way, moment, options, reference))
            print(json.dumps(rows[-1]), flush=True)
            with options.output.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
    finally:
        Ballast(options.folder).drop()
        trials.close()
        shutil.copytree(options.folder / ".aiida" / "daemon" / "log", options.logs, dirs_exist_ok=True)
    return rows


def main() -> None:
    """Run the moments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the file system is mounted")
    parser.add_argument("--moments", nargs="+", default=MOMENTS, choices=MOMENTS)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--megabytes", type=int, default=64, help="size of the file system")
    parser.add_argument("--hold", type=float, default=20, help="how long everything is taken, s")
    parser.add_argument("--structures", type=int, default=8)
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.output, options.logs = options.folder.with_suffix(".jsonl"), options.folder.with_suffix(".logs")
    if OWN_MOUNTS not in os.environ:
        os.environ[OWN_MOUNTS] = "1"
        again = [sys.executable, "-m", "tests.faults.disk_full", *sys.argv[1:]]
        os.execvp("unshare", with_mounts_of_its_own(*again))  # noqa: S606 - a command of our own, without a shell
    options.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(mount(options.folder, options.megabytes), check=True)
    rows = run_moments(options)
    bad = [(row["way"], row["moment"]) for row in rows if row["different"] or set(row["integrity"]) != {"ok"}]
    print(f"{len(rows)} searches, {len(bad)} different: {bad}", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
