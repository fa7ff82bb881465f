"""The common base of the parts of a search."""

from __future__ import annotations

from functools import cached_property

from aiida import orm
from aiida.engine import WorkChain

from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.environment.software import software_node
from aiida_fuse2.query.links import GROUP_PREFIX
from aiida_fuse2.query.stopping import STOP_NOW, stop_request

from .relax import RelaxTiersWorkChain


class SearchPart(WorkChain):
    """Base of the parts of a search.

    In the context, ``state`` is the UUID of the current state, ``failure`` the name of an exit code and the reason, or
    None, ``is_cut_short`` whether the current generation is to be omitted, and ``software`` the UUID of the versions.
    """

    @cached_property
    def settings(self) -> SearchSettings:
        """Settings of the search."""
        return parse_settings(SearchSettings, self.inputs.settings.get_dict())

    def search_state(self) -> SearchState:
        """Return the current state."""
        return SearchState.from_dict(orm.load_node(self.ctx.state).get_dict())

    def software(self) -> orm.Dict:
        """Return the versions of the packages of this process, one node for a search."""
        node = software_node(self.ctx.get("software"))
        self.ctx.software = node.uuid
        return node

    def group(self) -> orm.Group:
        """Return the group of the explored structures; it is made if it does not exist."""
        found: orm.Group = orm.Group.collection.get_or_create(GROUP_PREFIX + str(self.node.uuid))[0]
        return found

    def is_cut_short(self) -> bool:
        """Return whether the search is to omit its current generation, and remember it."""
        self.ctx.is_cut_short = self.ctx.is_cut_short or stop_request(self.node.pk) == STOP_NOW
        return bool(self.ctx.is_cut_short)

    def submit_relaxation(
        self, trials: orm.SinglefileData, link: str, labels: list[str] | None = None
    ) -> orm.ProcessNode:
        """Submit structures to be relaxed in the tiers of the search.

        Args:
            trials: trials with their labels.
            link: label of the link to the process.
            labels: labels of the structures to relax; all if None.
        """
        given = {} if labels is None else {"labels": orm.List(labels)}
        inputs = {"tiers": self.inputs.tiers, "trials": trials, "metadata": {"call_link_label": link}, **given}
        submitted: orm.ProcessNode = self.submit(RelaxTiersWorkChain, **inputs)
        return submitted
