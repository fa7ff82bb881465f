"""What leaves the graph: archives, citations, files of structures."""
