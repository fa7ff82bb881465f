"""The search WorkChain, run in this process with EMT."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node


@pytest.fixture
def finished_search(emt_builder):
    _, node = run_get_node(emt_builder())
    assert node.is_finished_ok, node.exit_message
    return node


def test_search_finds_ordered_alloy(finished_search):
    print(finished_search.outputs.energy.value)
    print(finished_search.outputs.ranked.get_dict()["structures"][:3])
    from aiida.cmdline.utils.common import get_workchain_report

    print(get_workchain_report(finished_search, "REPORT"))
    assert finished_search.outputs.structure.get_formula()
