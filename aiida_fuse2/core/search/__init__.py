"""The search: what is tried next, what is decided, and what is kept."""
