"""The search: the next trials, the decisions on them, and the state."""
