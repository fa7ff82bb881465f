"""What a search ends with, as one would print it: symmetric structures, one of each phase, described in words."""
