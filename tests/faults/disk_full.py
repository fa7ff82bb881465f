"""Let the disk run full under a search, at several moments or nearly so, and see what becomes of it.

The profile lies on a small file system in memory. It is mounted in a namespace of its own (``unshare``): nothing else
on the machine sees it, and it is gone with the last process. Run by hand::

    python -m tests.faults.disk_full /tmp/full

For each moment a ballast file takes all the space that is left, and what is given back meanwhile. A while later it is
removed, and what the documentation tells a user to try follows, until the search has ended well: nothing, ``verdi
process repair`` with the daemon stopped, ``verdi process play --all``, ``aiida-fuse2 continue``. For ``nearly`` some
space is left, but less than the search wants (``min_free_disk``, 0 for the others): it ends, and is continued. One line
of JSON for each moment goes to FOLDER.jsonl. Ends with 1 where a search came out different.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from .harness import ENDED, Trials

OWN_MOUNTS = "FUSE2_OWN_MOUNTS"
"""Environment variable that is set in the namespace."""

MOMENTS = ("propose", "uploading", "withscheduler", "retrieving", "parsing", "decide", "nearly")

LEAST = 0.016
"""Free space below which a search ends, GB; the profile takes about a quarter of the disk."""

QUIET = 30
"""A search that has stored nothing for this long is stuck, s; AiiDA tries again after 20 s first."""

BLOCK = 4096
"""The smallest amount of space of the file system, bytes."""


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

    def fill(self):
        """Take what is left."""
        with self.path.open("ab", buffering=0) as stream:
            size = 1024 * BLOCK
            while size >= BLOCK:
                try:
                    written = stream.write(b"\0" * size)
                except OSError:
                    written = 0
                if written < size:
                    size //= 2

    def leave(self, space):
        """Take all but some space, bytes."""
        with self.path.open("ab") as stream:
            stream.write(bytes(shutil.disk_usage(self.path.parent).free - int(space)))

    def hold(self, seconds):
        """Keep the file system full for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.fill()
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


def settle(trials, search, quiet):
    """Wait until a search has ended, or nothing has been stored for a while; tell whether it has ended."""
    from aiida import orm

    last, since = None, time.monotonic()
    while time.monotonic() - since < quiet:
        if trials.state(search) in ENDED:
            return True
        newest = (
            orm.QueryBuilder().append(orm.ProcessNode, project="mtime").order_by({orm.ProcessNode: {"mtime": "desc"}})
        )
        newest = newest.first(flat=True)
        if newest != last:
            last, since = newest, time.monotonic()
        time.sleep(0.5)
    return False


def actions(trials):
    """Return what a user would try, by name, in this order."""
    return {
        "nothing": lambda: None,
        "repair": trials.mend,
        "play": lambda: trials.run("verdi", "process", "play", "--all", check=False),
    }


def recover(trials, search, quiet):
    """Do what a user would, step by step; return the search that ended and the steps that it took."""
    steps = []
    for name, action in actions(trials).items():
        action()
        if name != "nothing":
            steps.append(name)
        if settle(trials, search, quiet):
            break
    for _ in range(2):
        if trials.state(search) not in ENDED or condition(trials, search).startswith("finished [0]"):
            break
        steps.append("continue")
        done = trials.run("aiida-fuse2", "continue", search, "--no-wait", "--json")
        search = json.loads(done.stdout)["pk"]
        settle(trials, search, quiet)
    return search, steps


def told(trials, search):
    """Return whether each command for users says that the disk is full, and how to go on."""
    commands = {"doctor": ["doctor"], "status": ["status", search], "show": ["show", search]}
    answers = {name: trials.run("aiida-fuse2", *words, check=False).stderr for name, words in commands.items()}
    return {name: "no space is left" in text and "process repair" in text for name, text in answers.items()}


def disk_full(trials, moment, options, reference):
    """Fill the disk at a moment of a search; return the row."""
    ballast = Ballast(trials.folder)
    first = trials.submit(options.structures)
    reached = trials.wait_for_phase(first, moment)
    ballast.hold(options.hold)
    row = {"moment": moment, "search": first, "reached": reached, "while full": condition(trials, first)}
    ballast.fill()
    row["told"] = told(trials, first)
    row["integrity"] = [integrity(trials)]
    ballast.drop()
    last, row["steps"] = recover(trials, first, options.quiet)
    row["first search"], row["last search"] = condition(trials, first), condition(trials, last)
    row["integrity"].append(integrity(trials))
    outcome = trials.outcome(last)
    row["different"] = [f"{name} says nothing" for name, said in row["told"].items() if not said]
    row["different"] += [key for key, value in outcome.items() if value != reference[key]]
    if trials.state(last) in ENDED and not trials.archive(last):
        row["different"].append("archive")
    return row


def disk_nearly_full(trials, moment, options, reference):
    """Leave a search less space than it wants; return the row."""
    ballast = Ballast(trials.folder)
    first = trials.submit(options.structures, least=LEAST)
    reached = trials.wait_for_phase(first, "decide")
    ballast.leave(LEAST * 1e9 / 2)
    trials.wait(first)
    row = {"moment": moment, "search": first, "reached": reached, "integrity": [integrity(trials)]}
    row["while full"] = condition(trials, first).partition("]")[0] + "]"  # what follows has the folder
    row["different"] = [] if trials.archive(first) else ["archive while full"]
    row["different"] += [] if row["while full"] == "finished [303]" else ["no end while full"]
    ballast.drop()
    done = trials.run("aiida-fuse2", "continue", first, "--no-wait", "--json")
    last, row["steps"] = json.loads(done.stdout)["pk"], ["continue"]
    trials.wait(last)
    row["last search"] = condition(trials, last)
    row["integrity"].append(integrity(trials))
    row["different"] += [key for key, value in trials.outcome(last).items() if value != reference[key]]
    return row


def run_moments(options):
    """Run the reference and one search for each moment; return the rows."""
    rows = []
    trials = Trials(options.folder)
    try:
        reference = trials.run_reference(options.structures)
        for moment in options.moments:
            disturb = disk_nearly_full if moment == "nearly" else disk_full
            rows.append(disturb(trials, moment, options, reference))
            print(json.dumps(rows[-1]), flush=True)
            with options.output.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
    finally:
        Ballast(options.folder).drop()
        trials.close()
    return rows


def main() -> None:
    """Run the moments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the file system is mounted")
    parser.add_argument("--moments", nargs="+", default=MOMENTS, choices=MOMENTS)
    parser.add_argument("--megabytes", type=int, default=64, help="size of the file system")
    parser.add_argument("--hold", type=float, default=20, help="how long the disk stays full, s")
    parser.add_argument(
        "--quiet", type=float, default=QUIET, help="a search that stores nothing for this long is stuck, s"
    )
    parser.add_argument("--structures", type=int, default=8)
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.output = options.folder.with_suffix(".jsonl")
    if OWN_MOUNTS not in os.environ:
        os.environ[OWN_MOUNTS] = "1"
        again = [sys.executable, "-m", "tests.faults.disk_full", *sys.argv[1:]]
        os.execvp("unshare", with_mounts_of_its_own(*again))  # noqa: S606 - a command of our own, without a shell
    options.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(mount(options.folder, options.megabytes), check=True)
    rows = run_moments(options)
    bad = [row["moment"] for row in rows if row["different"] or set(row["integrity"]) != {"ok"}]
    print(f"{len(rows)} moments, {len(bad)} different: {bad}", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
