"""Random input to everything that reads input: it is refused by name, or it works; nothing else.

Few examples are run by default. Many more, with another seed each time::

    FUSE2_FUZZ=5000 pytest tests/test_fuzz.py

What such runs have found is kept as an ``@example`` here or as a test beside the code at fault.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
import warnings

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.search.proposing import propose
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.io.structures import read_structures
from aiida_fuse2.protocols import REPLACED, protocol_inputs

from .io.test_structure_files import cif

WANTED = int(os.environ.get("FUSE2_FUZZ", "0"))
"""Examples of each test; 0 for the few of an ordinary run."""

SLOWEST = 5.0
"""Most seconds that one input may take: twice what it should, for slow machines and first imports."""


def fuzz(few):
    """Settings of hypothesis: the same few examples each time, or the many that were asked for."""
    return settings(
        max_examples=WANTED or few,
        derandomize=not WANTED,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@contextlib.contextmanager
def soon():
    """Fail where what is inside takes long; time on the processor, since the machine may be busy."""
    started = time.process_time()
    yield
    assert time.process_time() - started < SLOWEST


# --- overrides ----------------------------------------------------------------------------------

INPUTS = protocol_inputs("fast")


def paths_of(values, path=()):
    """Return the path of every known input."""
    found = [path] if path else []
    for key, value in values.items():
        nested = isinstance(value, dict) and key not in REPLACED
        found += paths_of(value, (*path, key)) if nested else [(*path, key)]
    return found


PATHS = paths_of(INPUTS)

numbers = st.one_of(
    st.integers(-2, 60),
    st.floats(0, 2),
    st.floats(),
    st.sampled_from([0, -1, 10**4, 10**6, 10**9, 10**30, 2**63 - 1, 2**63, 1e-300, 1e300, 10**400]),
)
texts = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "1", "1e-3", "fgen", "symmetric", "provided", "chgnet", "ase.calculators.emt.EMT"]
    ),
    st.text(max_size=8),
)
atoms = st.one_of(numbers, texts, st.none(), st.booleans(), st.binary(max_size=4), st.just(object()))
keys = st.one_of(
    st.integers(-1, 16),
    st.sampled_from(["Cu", "Au", "Cu-Au", "Xx", "1", "14", "code", "metadata", "a"]),
    st.text(max_size=4),
)
values = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
weights = st.dictionaries(st.integers(1, 14) | st.integers(1, 14).map(str), st.floats(0, 10) | numbers, max_size=5)
known_paths = st.sampled_from(PATHS)
unknown_paths = st.lists(
    st.sampled_from(["settings", "relax", "pool", "metadata", "options", "a"]), min_size=1, max_size=5
)
changes = st.one_of(
    st.tuples(known_paths, numbers),
    st.tuples(known_paths, numbers),
    st.tuples(known_paths, values),
    st.tuples(st.sampled_from([("settings", "move_weights"), ("settings", "melted_move_weights")]), weights),
    st.tuples(unknown_paths, values),
)

SYMBOLS = ["Cu", "Au", "Sr", "Ti", "O", "H", "Mn", "Pu", "Og", "X", "D"]
GARBAGE = [*"()[]{}+-.,0123456789 \n\t\x00\x1b", "²", "٣", "9" * 30, "e9", "(" * 90, ")2"]
compositions = st.one_of(
    st.sampled_from(["Cu3Au", "SrTiO3", "Mn"]),
    st.lists(st.sampled_from([*SYMBOLS[:5], "2", "3", "4"]), min_size=1, max_size=6).map("".join),
    st.lists(st.sampled_from([*SYMBOLS, *GARBAGE]), max_size=12).map("".join),
    st.text(max_size=10),
)


def nested(pairs):
    """Return overrides that set values at paths; a later path wins over an earlier one."""
    overrides = {}
    for path, value in pairs:
        place = overrides
        for key in path[:-1]:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[path[-1]] = value
    return overrides


overrides = st.lists(changes, min_size=0, max_size=3).map(nested)


def small(settings):
    """Return settings with a budget that a test can afford."""
    limits = {"population_size": 2, "max_attempts": 2, "walkers": 2}
    values = {**settings.model_dump(), **{k: min(v, getattr(settings, k)) for k, v in limits.items()}}
    return parse_settings(SearchSettings, values)


def check_proposal(settings):
    """A search with these settings proposes trials, or names why it has none."""
    proposal = propose(settings, SearchState.initial(settings.walkers, settings.acceptance.temperature), {}, None)
    event("trials" if proposal.trials else "no trials")
    assert proposal.trials or sum(proposal.rejections.values())
    assert all(str(reason) for reason in proposal.rejections)


@fuzz(300)
@given(composition=compositions, overrides=overrides)
def test_settings_are_refused_or_work(composition, overrides):
    with warnings.catch_warnings(), soon():
        warnings.simplefilter("ignore")
        try:
            inputs = protocol_inputs("fast", overrides)
            values = {"composition": composition, **inputs["settings"]}
            found = parse_settings(SearchSettings, values)
            check_search(found)
        except InputError as error:
            check_message(str(error))
            event("refused")
            return
        check_proposal(small(found))


def check_message(message):
    """A message is one line of bounded length that a terminal can show."""
    assert message.strip()
    assert message.isprintable()
    assert len(message) < 1000


@fuzz(100)
@given(composition=compositions, overrides=overrides)
def test_builder_is_refused_or_valid(worker_code, composition, overrides):
    from aiida_fuse2.core.errors import RefusedInputsError
    from aiida_fuse2.launch.inputs import check_inputs, plain_inputs
    from aiida_fuse2.launch.search import prepare_search

    before = copy.deepcopy(overrides) if not holds_object(overrides) else None
    with soon():
        try:
            prepared = prepare_search(composition, code=worker_code, protocol="fast", overrides=overrides, store=False)
        except (InputError, RefusedInputsError) as error:
            check_message(str(error))
            event("refused")
            return
    event("valid")
    check_inputs(prepared.builder)
    assert plain_inputs(prepared.builder)["settings"]["composition"] == prepared.settings.unit.formula
    assert before is None or repr(before) == repr(overrides)


def holds_object(overrides):
    return "<object" in _safe_repr(overrides)


def _safe_repr(value):
    try:
        return repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "<object"


@fuzz(300)
@given(text=compositions)
@example("H" + "9" * 150)
@example("(((H999)999)999)999")
@example("H٣")
def test_composition_is_read_or_refused(text):
    with warnings.catch_warnings(), soon():
        warnings.simplefilter("ignore")
        try:
            unit = parse_composition(text)
        except InputError as error:
            check_message(str(error))
            return
        assert parse_composition(unit.formula) == unit


# --- files --------------------------------------------------------------------------------------

CIF = cif("a")

POSCAR = """SrTiO3
1.0
3.905 0.0 0.0
0.0 3.905 0.0
0.0 0.0 3.905
Sr Ti O
1 1 3
Direct
0.0 0.0 0.0
0.5 0.5 0.5
0.5 0.5 0.0
0.5 0.0 0.5
0.0 0.5 0.5
"""

XYZ = """5
Lattice="3.905 0 0 0 3.905 0 0 0 3.905" Properties=species:S:1:pos:R:3 pbc="T T T" energy=-1.5
Sr 0.0 0.0 0.0
Ti 1.9525 1.9525 1.9525
O 1.9525 1.9525 0.0
O 1.9525 0.0 1.9525
O 0.0 1.9525 1.9525
"""

LISTED = (
    CIF.replace("'P m -3 m'", "'P -1' ").replace("_symmetry_Int_Tables_number 221\n", "")
    + """O2 O 0.5 0 0.5 1
O3 O 0 0.5 0.5 1
loop_
_symmetry_equiv_pos_as_xyz
x,y,z
-x,-y,-z
_space_group_name_Hall -P_1
"""
)

SEEDS = {"a.cif": CIF, "b.cif": LISTED, "POSCAR": POSCAR * 2, "a.xyz": XYZ * 2}

pieces = st.one_of(
    st.sampled_from(
        [
            "0",
            "-1",
            "1000000000",
            "9" * 30,
            "nan",
            "inf",
            "1e308",
            "1_0",
            "\n",
            "\x00",
            ";",
            "loop_",
            "data_",
            "'",
            '"',
            "{",
            "Xx",
            ":",
            "-0.5",
        ]
    ),
    st.text(max_size=5),
)


@st.composite
def mutated(draw):
    """Name and bytes of a structure file with some of it replaced, left out or repeated."""
    name = draw(st.sampled_from(sorted(SEEDS)))
    text = SEEDS[name]
    for _ in range(draw(st.integers(0, 4))):
        words = text.split(" ") if draw(st.booleans()) else text.split("\n")
        glue = " " if " ".join(words) == text else "\n"
        place = draw(st.integers(0, len(words) - 1))
        length = draw(st.integers(0, 3))
        words[place : place + length] = draw(st.lists(pieces, max_size=2)) * draw(st.sampled_from([1, 1, 1, 50]))
        text = glue.join(words)
    return name, text.encode("utf-8", errors="replace")


random_bytes = st.tuples(st.sampled_from(sorted(SEEDS)), st.binary(max_size=300))


@fuzz(250)
@given(file=mutated() | random_bytes)
def test_files_are_read_or_reported(tmp_path_factory, search_settings, file):
    from aiida_fuse2.calculations.conversions import provided_pool

    name, content = file
    path = tmp_path_factory.mktemp("files") / name
    path.write_bytes(content)
    with soon():
        found = read_structures([path])
        structures = [(str(f.index), f.atoms) for f in found if f.atoms is not None]
        _, summary = provided_pool(search_settings("SrTiO3", max_atoms=20), structures)
    assert found
    event(f"{name} {'kept' if summary['kept'] else 'rejected' if structures else 'reported'}")
    assert all((f.atoms is None) == bool(f.problem) for f in found)
    assert all(f.problem.isprintable() for f in found if f.problem)
    assert path.read_bytes() == content
    path.unlink()
