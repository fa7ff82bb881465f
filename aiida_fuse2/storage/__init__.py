"""Storage of searches besides the graph: disks and the broker."""
