"""Exports from the graph: archives, citations, files of structures."""
