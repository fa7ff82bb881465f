"""Several generators of starting structures: turns, the initial population, settings."""

from __future__ import annotations

from collections import Counter
from math import isclose

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.errors import GenerationError, InputError
from aiida_fuse2.core.generators import SingleGenerator
from aiida_fuse2.core.generators.registry import GENERATORS
from aiida_fuse2.core.search.checks import check_pool, check_search
from aiida_fuse2.core.search.pool import ORIGIN, PoolReader
from aiida_fuse2.core.search.proposing import propose
from aiida_fuse2.core.search.starts import has_other_starts, interleaved, pool_generators, sizes_of_parts
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import shares_text, stored_starts

SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(1e-3, 1e3), min_size=1)


class Instant(SingleGenerator):
    """Ordered rows of a face-centred cubic lattice, made when they are needed."""

    name = "instant"
    in_process = True

    def __call__(self, context, rng):
        z = context.unit.z_values(context.max_atoms)[0]
        atoms = bulk("Cu", "fcc", a=4.0 + 0.1 * rng.random()).repeat((z * context.unit.n_atoms, 1, 1))
        atoms.symbols = context.unit.symbols(z)
        return atoms


class Once(SingleGenerator):
    """A generator in a job that would make the same structures again."""

    name = "once"
    refills = False

    def __call__(self, context, rng):  # noqa: ARG002
        raise GenerationError("nothing")


@pytest.fixture
def others(monkeypatch):
    """Generators of another package."""
    own = {**GENERATORS.own, "instant": Instant(), "once": Once()}
    monkeypatch.setattr(GENERATORS, "own", own)


def pool_of(unit, n, origin="symmetric"):
    """A pool of n different structures of Cu3Au."""
    structures = []
    for i in range(n):
        atoms = bulk("Cu", "fcc", a=3.7 + 0.01 * i, cubic=True)
        atoms.numbers[0] = 79
        atoms.info[ORIGIN] = origin
        structures.append(atoms)
    return PoolReader(unit, lambda: structures, {})


def origins(chosen, pool=None):
    return [t.info.origin for t in propose(chosen, SearchState.initial(2, 0.02), {}, pool).trials]


# --- turns ------------------------------------------------------------------------------------------


@given(SHARES, st.integers(1, 60))
def test_turns_keep_the_shares(shares, n):
    parts = {name: [name] * n for name in shares}
    total = sum(shares.values())
    drawn = interleaved(parts, shares)
    assert Counter(drawn) == Counter(dict.fromkeys(shares, n))
    for length in range(n):  # nobody has run out yet
        counts = Counter(drawn[:length])
        for name, share in shares.items():
            assert abs(counts[name] - length * share / total) < len(shares)
        if len(shares) == 2:
            assert all(abs(counts[name] - length * share / total) <= 1 for name, share in shares.items())


@given(SHARES, st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), min_size=6))
def test_every_part_keeps_its_order(shares, lengths):
    parts = {name: [(name, i) for i in range(lengths[name])] for name in shares}
    drawn = interleaved(parts, shares)
    assert len(drawn) == sum(map(len, parts.values()))
    assert {name: [item for item in drawn if item[0] == name] for name in parts} == parts


def test_of_equals_the_first_by_name_begins():
    assert "".join(interleaved({"b": "bbb", "a": "aaa"}, {"b": 1, "a": 1})) == "ababab"
    assert "".join(interleaved({"a": "aaa", "b": "bbb"}, {"a": 2, "b": 1})) == "abaabb"
    shares = {"a": 8, "b": 4, "c": 1}
    rest = interleaved({"a": "a", "b": "b" * 80, "c": "c" * 20}, shares)  # the others keep their shares to each other
    assert Counter(rest[1:51]) == {"b": 40, "c": 10}


@given(st.integers(1, 10_000), SHARES)
def test_sizes_are_rounded_up(size, shares):
    sizes, total = sizes_of_parts(size, shares), sum(shares.values())
    assert size <= sum(sizes.values()) <= size + len(shares)
    for name, number in sizes.items():
        exact = size * shares[name] / total
        assert number >= 1
        assert exact - 1e-6 <= number < exact + 1 + 1e-6
    assert sizes_of_parts(size, {"x": 0.3}) == {"x": size}


def test_exact_shares_are_not_rounded_up():
    assert sizes_of_parts(10, {"a": 0.1, "b": 0.2, "c": 0.7}) == {"a": 1, "b": 2, "c": 7}


# --- the initial population ---------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(job=st.floats(0.05, 1), own=st.floats(0.05, 1), n=st.integers(1, 12))
def test_population_has_the_shares(search_settings, job, own, n):
    chosen = search_settings("Cu3Au", starts={"symmetric": job, "fgen": own}, max_atoms=4, population_size=n)
    found = Counter(origins(chosen, pool_of(chosen.unit, n)))
    assert found.total() == n
    assert isclose(found["symmetric"], n * job / (job + own), abs_tol=1 + 1e-6)


def test_pool_and_random_generator_take_turns(search_settings):
    shares, missing = {"symmetric": 1, "fgen": 2}, {"random_generator": "fgen"}
    chosen = search_settings("Cu3Au", starts=shares, max_atoms=8, population_size=6, **missing)
    assert origins(chosen, pool_of(chosen.unit, 9)) == ["fgen", "symmetric", "fgen"] * 2
    assert origins(chosen, None) == ["fgen"] * 6  # which makes what the pool lacks
    assert origins(chosen, pool_of(chosen.unit, 1)) == ["fgen", "symmetric"] + ["fgen"] * 4


def test_structures_of_the_user_come_first_and_have_no_share(search_settings):
    chosen = search_settings("Cu3Au", starts={"provided": 5, "symmetric": 1, "fgen": 1}, max_atoms=4, population_size=6)
    mixed = [*pool_of(chosen.unit, 2, "provided").load(), *pool_of(chosen.unit, 9).load()]
    found = origins(chosen, PoolReader(chosen.unit, lambda: mixed, {}))
    assert found == ["provided"] * 2 + ["symmetric", "fgen"] * 2


def test_one_generator_takes_the_whole_pool_or_none(search_settings):
    alone = search_settings("Cu3Au", starts="symmetric", max_atoms=4, population_size=4, random_generator="fgen")
    assert origins(alone, pool_of(alone.unit, 3)) == ["symmetric"] * 3 + ["fgen"]
    given_ = search_settings("Cu3Au", starts="fgen", max_atoms=4, population_size=4, random_generator="fgen")
    assert origins(given_, pool_of(given_.unit, 3)) == ["symmetric"] * 3 + ["fgen"]  # a pool that the user named


def test_a_generator_of_another_package_makes_its_share_in_process(search_settings, others):
    chosen = search_settings("Cu3Au", starts={"instant": 1, "fgen": 1}, max_atoms=4, population_size=6)
    check_search(chosen)
    assert pool_generators(chosen) == []
    assert origins(chosen) == ["fgen", "instant"] * 3
    assert origins(chosen.model_copy(update={"starts": {"instant": 1.0}})) == ["instant"] * 6


def test_the_first_trials_do_not_depend_on_how_many_there_are(search_settings):
    chosen = search_settings("Cu3Au", starts={"symmetric": 1, "fgen": 1}, max_atoms=8, population_size=4)
    more = chosen.model_copy(update={"population_size": 9})
    few, many = (propose(s, SearchState.initial(2, 0.02), {}, pool_of(s.unit, 9)).trials for s in (chosen, more))
    for one, other in zip(few, many, strict=False):
        assert np.array_equal(one.atoms.positions, other.atoms.positions)


# --- which generators -------------------------------------------------------------------------------


def test_a_generator_without_other_structures_fills_one_pool(search_settings, others):
    both = search_settings("Cu3Au", starts={"symmetric": 1, "once": 1, "fgen": 1, "provided": 1})
    assert pool_generators(both) == ["once", "symmetric"]
    assert pool_generators(both, ["symmetric", "once"]) == ["symmetric"]
    alone = search_settings("Cu3Au", starts="once")
    assert pool_generators(alone) == ["once"]
    assert pool_generators(alone, ["once"]) == []


@pytest.mark.parametrize(
    ("starts", "can_begin"),
    [("symmetric", False), ("once", True), ("symmetric,once", False), ("symmetric,fgen", True), ("once,fgen", True)],
)
def test_who_begins_without_a_pool(search_settings, others, starts, can_begin):
    assert has_other_starts(search_settings("Cu3Au", starts=starts)) == can_begin


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shares"),
    [
        ("fgen", {"fgen": 1.0}),
        ("gnoa=0.2, fgen=0.8", {"gnoa": 0.2, "fgen": 0.8}),
        ("gnoa,fgen=3", {"gnoa": 1.0, "fgen": 3.0}),
        ({"symmetric": 2}, {"symmetric": 2.0}),
    ],
)
def test_starts_as_people_write_them(search_settings, written, shares):
    assert search_settings(starts=written).starts == shares
    assert stored_starts({"version": 4, "starts": written}) == shares


def test_text_for_people():
    assert shares_text({"fgen": 3.0}) == "fgen"
    assert shares_text({"gnoa": 1, "fgen": 3}) == "fgen 75 % + gnoa 25 %"
    assert shares_text({"b": 1, "a": 1, "c": 1}) == "a 33.3 % + b 33.3 % + c 33.3 %"
    assert shares_text({}) == ""


@pytest.mark.parametrize(
    "written",
    [
        {},
        "",
        ",",
        "fgen=",
        "fgen=x",
        "fgen,fgen=2",
        "fgen=0",
        "fgen=nan",
        "=1",
        {"fgen": 0},
        {"fgen": -1},
        {"fgen": float("nan")},
        {"fgen": float("inf")},
        {"fgen": True},
        {"fgen": None},
        {1: 1},
        ["fgen"],
        None,
        3,
    ],
)
def test_starts_that_are_refused(search_settings, written):
    with pytest.raises(InputError, match=r"settings\.starts"):
        search_settings(starts=written)


def test_unknown_names_are_refused_with_those_that_exist(search_settings):
    with pytest.raises(InputError, match=r"settings\.starts = 'oracle'.*symmetric"):
        check_search(search_settings(starts={"fgen": 1, "oracle": 1}))
    check_pool(search_settings(starts={"fgen": 1, "oracle": 1}), ["fgen"])  # a job needs only its own


@pytest.mark.parametrize(
    "stored", [{}, {"starts": 3}, {"starts": {"a": {}}}, {"starts": ",", "version": 3}, {"version": 99, "starts": "a"}]
)
def test_unreadable_stored_starts(stored):
    assert stored_starts(stored) == {}
