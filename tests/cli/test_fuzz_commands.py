"""Random words after every command: exit code 0, 1 or 2, and a message where it is not 0.

More examples as in ``tests/test_fuzz.py``.
"""

from __future__ import annotations

import pytest
from aiida import orm
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner
from hypothesis import event, example, given
from hypothesis import strategies as st

from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.launch import continuation
from aiida_fuse2.launch.inputs import check_inputs
from tests.test_fuzz import check_message, compositions, fuzz, known_paths, overrides, soon

PK = "PK"
"""Stands for the primary key of a finished search."""

letters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
"""What the words of a command can hold."""

words = st.one_of(
    st.sampled_from(["", *"01%a./²٣", "-1", "9" * 30, "9" * 5000, "nan", "inf", "\x1b[31m"]),
    st.text(letters, max_size=6),
)
BAD_YAML = ["[" * 60, "{a: &x 1, b: *x}", "{a: 1, a: 2}", "!!python/object:a.b {}", "2024-02-31"]
assignments = st.one_of(
    words, st.builds("{}={}".format, known_paths.map(".".join), st.one_of(words, st.sampled_from(BAD_YAML)))
)
run_options = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                "--max-atoms",
                "--max-structures",
                "--population",
                "--walkers",
                "--trials-per-step",
                "--seed",
                "--processes",
                "--runs",
                "--concurrent",
            ]
        ),
        words,
    ),
    st.tuples(
        st.sampled_from(["--pressure", "--device", "--starts", "--protocol", "--code", "--group", "--prototypes"]),
        words,
    ),
    st.tuples(st.sampled_from(["--structures", "--overrides"]), words | st.sampled_from(["/dev/null", "/dev/zero"])),
    st.tuples(st.just("--set"), assignments),
    st.tuples(words),
)
other_options = st.one_of(
    st.tuples(st.sampled_from(["-n", "--number", "--symprec", "--format"]), words),
    st.tuples(st.just("--json")),
    st.tuples(words),
)
numbers = words | st.sampled_from(["1", "4", "20"])
continue_options = st.one_of(
    st.tuples(st.sampled_from(["--generation", "--more", "--max-structures", "--walkers", "--seed"]), numbers),
    st.tuples(
        st.sampled_from(["--max-cpu-hours", "--max-wall-hours", "--stop-chance", "--jobs", "--processes"]), numbers
    ),
    st.tuples(st.just("--more"), st.just("4")),
    st.tuples(st.just("--set"), assignments),
    st.tuples(st.sampled_from(["--trials-per-step", "--code"]), words),
    st.tuples(st.sampled_from(["--json", "--no-wait"])),
    st.tuples(words),
)
status_options = st.one_of(
    st.tuples(st.sampled_from(["-n", "--number"]), numbers),
    st.tuples(st.sampled_from(["-a", "--all", "--json"])),
    st.tuples(words),
)
doctor_options = st.tuples(st.sampled_from(["--connect", "--mend", "--json"]) | words)
setup_options = st.one_of(
    st.tuples(st.sampled_from(["--computer", "--worker"]), words.map(lambda word: f"no{word}")),
    st.tuples(st.just("--daemon-workers"), st.sampled_from(["0", "-1", "x", "9" * 5000])),
)


def flat(*parts):
    """Return the words of lists of words and of options, in their order."""
    joined = st.tuples(*(st.just([part]) if isinstance(part, str) else part for part in parts))
    return joined.map(lambda found: [word for part in found for option in part for word in as_words(option)])


def as_words(option):
    return [option] if isinstance(option, str) else option


formulas = compositions.filter(lambda text: "\x00" not in text).map(lambda text: [text])
verbs = st.sampled_from(["show", "structures", "watch", "stop"]).map(lambda verb: [verb])
keys = st.lists(words | st.just(PK), max_size=1)
verbs_of_libraries = st.sampled_from(["list", "show", "build", "fetch"]).map(lambda verb: [verb])
library_options = st.one_of(
    st.tuples(st.sampled_from(["--from", "--composition", "--max-atoms", "--filter", "--limit", "--name"]), words),
    st.tuples(st.just("--json")),
)
files = st.lists(words | st.sampled_from(["good.cif", "bad.cif", ".", "/dev/zero"]), max_size=2)

commands = st.one_of(
    flat("run", formulas, st.lists(run_options, max_size=3)),
    flat(verbs, keys, st.lists(other_options, max_size=2)),
    flat("continue", st.just([PK]) | keys, st.lists(continue_options, max_size=3)),
    flat("add", st.just([PK]) | keys, files, st.lists(st.tuples(words | st.just("--json")), max_size=1)),
    flat("prototypes", verbs_of_libraries, words.map(lambda word: [word]), st.lists(library_options, max_size=2)),
    flat("status", st.lists(words | st.just(PK), max_size=2), st.lists(status_options, max_size=2)),
    flat("doctor", st.lists(doctor_options, max_size=2)),
    flat("setup", "-n", "--no-daemon", "--computer", "none", st.lists(setup_options, max_size=2)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder to run commands in, with a structure that fits and one that cannot be read."""
    path = tmp_path_factory.mktemp("commands")
    ordered = bulk("Cu", "fcc", a=3.75, cubic=True)
    ordered.numbers[0] = 79
    write(path / "good.cif", ordered)
    (path / "bad.cif").write_text("data_")
    return path


@pytest.fixture
def search_pk(search, worker_code):
    """The primary key of a finished search, in a profile that has the code."""
    return search.pk


@pytest.fixture
def nothing_added(search):
    """Take what was added to the search away again, for the other tests."""
    yield
    for group in orm.QueryBuilder().append(orm.Group, filters={"label": f"fuse2/{search.uuid}/added"}).all(flat=True):
        orm.Group.collection.delete(group.pk)


@pytest.fixture
def impatient(monkeypatch, nothing_added):
    """A user who presses Ctrl-C where a command begins to wait: other tests leave searches that never end."""

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("aiida_fuse2.cli.views.progress.time.sleep", interrupt)
    monkeypatch.setattr("aiida_fuse2.environment.processes.HANDED_OVER", 0)
    monkeypatch.setattr(
        "aiida_fuse2.environment.diagnosis.worker_software", lambda _: {}
    )  # takes a second, and no words


@fuzz(30)
@given(overrides=overrides, more=st.none() | st.integers(-1, 10**30), generation=st.none() | st.integers(-1, 5))
def test_continuation_is_refused_or_valid(search, overrides, more, generation):
    with soon():
        try:
            prepared = continuation.prepare_continuation(search, overrides=overrides, more=more, generation=generation)
        except (InputError, RefusedInputsError) as error:
            check_message(str(error))
            event("refused")
            return
    event("valid")
    check_inputs(prepared.builder)
    assert prepared.builder.state.is_stored


@fuzz(120)
@given(command=commands)
@example(["show", "9" * 30])
@example(["stop", "9" * 30])
@example(["run", "Cu3Au", "--code", "9" * 30])
@example(["continue", PK, "--more", "4", "--set", "settings.max_atoms=4"])
@example(["add", PK, "good.cif", "bad.cif", "--json"])
@example(["run", "Cu3Au", "--runs", "9" * 30])
@example(["run", "Cu3Au", "--runs", "3", "--concurrent", "0"])
def test_commands_end_well_or_with_a_message(search_pk, impatient, monkeypatch, folder, command):
    from aiida_fuse2.cli import cmd_root

    monkeypatch.chdir(folder)
    arguments = [str(search_pk) if word == PK else word for word in command]
    if arguments[0] in {"run", "continue"}:
        arguments.append("--dry-run")
    with soon():
        result = CliRunner().invoke(cmd_root, arguments)
    event(f"{arguments[0]} {result.exit_code}")
    crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not crashed, (arguments, result.exception)
    assert result.exit_code in {0, 1, 2}, (arguments, result.output)
    has_result = arguments[0] in {"doctor", "watch"}  # which tell what they find, be it bad
    has_told = result.stdout if has_result else result.stderr
    assert result.exit_code == 0 or has_told.strip() or result.stderr.strip(), arguments
    assert "\x1b" not in result.stderr or result.stderr.startswith("Usage:")  # click repeats unknown words as they are
