"""The report of a search: one HTML page that needs nothing else.

``collect`` asks the graph; ``data``, ``views``, ``patterns``, ``plots`` and ``page`` know nothing of AiiDA.
"""
