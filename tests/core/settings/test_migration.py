"""Settings of earlier versions in the form of the present one."""

from __future__ import annotations

import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings, stored_starts
from aiida_fuse2.core.settings.migration import STEPS, VERSION, migrated
from aiida_fuse2.protocols import completed_relax_settings, completed_settings, protocol_inputs


def stored(part, **more):
    """Settings as version 1 stored them: without a version, and with what has gone since."""
    inputs = protocol_inputs("fast")
    values = dict(inputs["settings"] if part == "search" else inputs["relax"]["settings"])
    del values["version"]
    return values | more


def test_there_is_a_step_from_every_version():
    assert sorted(STEPS) == list(range(1, VERSION))


def test_settings_of_a_search():
    values = stored("search", composition="SrTiO3", disk_reserve=0.2, seed=7)
    with pytest.raises(InputError):  # neither a version nor known keys
        parse_settings(SearchSettings, values)
    settings = parse_settings(SearchSettings, completed_settings(values))
    assert (settings.version, settings.seed, settings.composition) == (VERSION, 7, "SrTiO3")


def test_settings_of_a_relaxation():
    values = stored("relax", prerelax={"enabled": True, "pressure": 1.0}, fmax=0.03)
    settings = parse_settings(RelaxSettings, completed_relax_settings(values))
    assert (settings.version, settings.fmax) == (VERSION, 0.03)


@pytest.mark.parametrize("version", [{}, {"version": 2}])
def test_the_generator_of_earlier_versions_has_all_shares(version):
    values = stored("search", composition="SrTiO3", generator="gnoa", **version)
    del values["starts"]
    completed = completed_settings(values)
    assert completed["starts"] == {"gnoa": 1}  # not those of the protocol, too
    assert parse_settings(SearchSettings, completed).starts == {"gnoa": 1.0}
    assert stored_starts(values) == {"gnoa": 1.0}
    with pytest.raises(InputError, match=r"settings\.starts"):
        parse_settings(SearchSettings, completed_settings({**values, "generator": ["gnoa"]}))


@pytest.mark.parametrize(
    ("written", "shares"),
    [
        ({"fgen": 0.7, "gnoa": 0.3}, {"fgen_paper": 0.7, "gnoa": 0.3}),
        ("gnoa=0.2,fgen=0.8", {"gnoa": 0.2, "fgen_paper": 0.8}),
        ("fgen", {"fgen_paper": 1.0}),
        ("my.fgen=2,fgen-2", {"my.fgen": 2.0, "fgen-2": 1.0}),
        ({"symmetric": 1}, {"symmetric": 1.0}),
    ],
)
def test_the_original_generator_has_the_name_of_the_paper(written, shares):
    values = stored("search", composition="SrTiO3", version=3, starts=written, random_generator="fgen")
    settings = parse_settings(SearchSettings, completed_settings(values))
    assert (settings.starts, settings.random_generator) == (shares, "fgen_paper")
    assert stored_starts(values) == shares
    newer = parse_settings(SearchSettings, completed_settings({**values, "version": 4}))
    assert newer.random_generator == "fgen"
    assert stored_starts({**values, "version": 1, "generator": "fgen"}) == {"fgen_paper": 1.0}


def test_an_earlier_search_keeps_its_walk():
    values = stored("search", composition="SrTiO3", version=3)
    for name in ("new_share", "size_bias", "finish"):
        del values[name]
    values["acceptance"] = {k: v for k, v in values["acceptance"].items() if k != "restart_threshold"}
    values["symmetry"] = {k: v for k, v in values["symmetry"].items() if k != "rattle_copies"} | {"rattle": 0.04}
    settings = parse_settings(SearchSettings, completed_settings(values))
    assert (settings.new_share, settings.size_bias, settings.finish) == (0, 0, 0)
    assert settings.symmetry.rattle_copies == 0.04
    assert settings.acceptance.restart_threshold is None
    newer = parse_settings(SearchSettings, completed_settings({**values, "version": 4}))
    default = protocol_inputs()["settings"]
    assert (newer.new_share, newer.acceptance.restart_threshold) == (default["new_share"], 40)


def test_a_setting_that_a_version_did_not_know_has_its_default():
    values = stored("search", composition="SrTiO3")
    del values["job_seconds"]
    assert completed_settings(values)["job_seconds"] == protocol_inputs()["settings"]["job_seconds"]


def test_settings_of_this_version_stay_as_they_are():
    values = {**stored("relax"), "version": VERSION}
    assert migrated(values) == values


@pytest.mark.parametrize("version", [0, VERSION + 1, "2", None])
def test_an_unknown_version_is_refused(version):
    with pytest.raises(InputError, match=r"settings\.version"):
        migrated({"version": version})
