"""What searches store in besides the graph: disks, the broker, the memory of a profile."""
