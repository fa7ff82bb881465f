"""Inputs of processes, prepared and checked before anything is submitted."""
