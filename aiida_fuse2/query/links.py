"""Names of links, groups and functions of a search in the graph."""

from __future__ import annotations

STRUCTURE_LINK = "structures__"
"""Start of the link labels of explored structures, followed by the label of the trial."""

CONTINUED_LINK = "continues"
"""Label of the link from the UUID of the search that another one continues from."""

GROUP_PREFIX = "fuse2/"
"""Start of the label of the group of a search's explored structures; its UUID follows."""

TARGETS_LINK = "targets"
"""Label of the link to the job that relaxes the targets of a search, and namespace of these inputs."""

FINISH_LINK = "finish"
"""Label of the link from a search, or several runs of one, to the process that makes its answer."""

SECOND_LINK = "second"
"""Namespace of the inputs of a search, or of a finish, with the potential that orders the answer; beginning of the
labels of the links from a finish to the processes that relax with it."""

EXPERIMENT = "experiment"
"""Input of a search: name of the paper's experiment that it was set up as."""

ADDED_SUFFIX = "/added"
"""End of the label of the group of structure files that the user added to a search."""

ADD_TO_POOL = "add_to_pool"
"""Name of the calcfunction that puts structures into the pool."""

EARLIEST_FIRST = [{"ctime": "asc"}, {"id": "asc"}]
"""Order of nodes in a query, for ``order_by``; an import keeps this order."""

NEWEST_FIRST = [{"ctime": "desc"}, {"id": "desc"}]
"""The reverse order."""
