"""The table of evaluation times in the cache of a user."""

from __future__ import annotations

import platform

import pytest

from aiida_fuse2.core.potentials.chgnet.build import CACHE_VARIABLE
from aiida_fuse2.io.cost_table import CostTableError, read_table, table_path, write_table

TABLE = {5: 0.002, 40: 0.02}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def test_a_table_is_read_back_and_replaced(cache):
    assert read_table() is None
    path = write_table({5: 1.0}, "chgnet")
    assert write_table(TABLE, "chgnet") == path
    assert read_table() == TABLE
    assert [one.name for one in cache.iterdir()] == [path.name]


def test_another_machine_has_another_table(cache, monkeypatch):
    write_table(TABLE, "chgnet")
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert read_table() is None
    write_table({5: 1.0}, "chgnet")
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"seconds": {}}', '{"seconds": {"5": "x"}}', '{"seconds": {"5": NaN}}', '{"seconds": {"0": 1}}'],
)
def test_what_is_no_table_counts_as_none(cache, text):
    cache.mkdir()
    table_path().write_text(text)
    assert read_table() is None


def test_a_folder_that_cannot_be_made_is_named(cache):
    cache.write_text("a file")
    with pytest.raises(CostTableError, match="cannot be stored"):
        write_table(TABLE, "chgnet")


def test_a_relative_cache_is_no_place(monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "here")
    assert read_table() is None
