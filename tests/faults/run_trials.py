"""Disturb searches in every way and see that each finds what the undisturbed one found.

Run by hand; takes about a minute for each trial::

    python -m tests.faults.run_trials /tmp/trials --random 20

One line of JSON for each trial goes to FOLDER/trials.jsonl; those that are there already are not repeated.
Ends with 1 where a search came out different.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from .faults import series
from .harness import Trials


def trial(trials, name, fault, structures, reference):
    """Run one search with a fault and return its row."""
    trials.killed, trials.advice = [], []
    trials.search = search = trials.submit(structures)
    started = time.monotonic()
    fault(trials, search, np.random.default_rng(zlib.crc32(name.encode())))
    trials.wait(search)
    outcome = trials.outcome(search)
    different = [key for key, value in outcome.items() if value != reference[key]]
    if not trials.archive(search):
        different.append("archive")
    return {
        "trial": name,
        "search": search,
        "seconds": round(time.monotonic() - started, 1),
        "killed": trials.killed,
        "different": different,
        "mended": trials.advice,
    }


def text(value):
    """Return a value as a word or a few."""
    return ", ".join(value) if isinstance(value, list) else str(value)


def table(rows):
    """Return rows as text, one line each."""
    heads = ("trial", "seconds", "killed", "different", "mended")
    lines = [heads, *([text(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines)


def is_missed(row):
    """Return whether a kill hit nothing, or a search that had ended."""
    return "kill" in row["trial"] and not set(row["killed"]) - {"ended"}


def main() -> None:
    """Run the series."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--random", type=int, default=20, help="workers killed at a random moment")
    parser.add_argument("--pause", type=float, default=60, help="how long the daemon is stopped, s")
    parser.add_argument("--structures", type=int, default=12)
    parser.add_argument("--only", nargs="+", default=[""], help="trials whose name contains one of these")
    options = parser.parse_args()
    trials = Trials(options.folder.resolve())
    path = options.folder / "trials.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    try:
        reference = trials.run_reference(options.structures)
        for name, fault in series(options.random, options.pause).items():
            if any(row["trial"] == name for row in known) or not any(part in name for part in options.only):
                continue
            row = trial(trials, name, fault, options.structures, reference)
            known.append(row)
            print(json.dumps(row), flush=True)
            with path.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
    finally:
        trials.close()
    print(table(known))
    different = [row["trial"] for row in known if row["different"]]
    missed = [row["trial"] for row in known if is_missed(row)]
    mended = sum(bool(row["mended"]) for row in known)
    print(f"{len(known)} trials: different {different}, nothing hit {missed}, {mended} mended", flush=True)
    sys.exit(bool(different or missed))


if __name__ == "__main__":
    main()
