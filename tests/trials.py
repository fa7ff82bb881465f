"""Trials to test with."""

from aiida_fuse2.core.search.trials import Trial, TrialInfo, trial_label


def trial_info(trial=0, *, walker=0, generation=0, **changes):
    """What is known of a trial of `fgen`, with changes."""
    values = {
        "label": trial_label(generation, walker, trial),
        "generation": generation,
        "walker": walker,
        "trial": trial,
        "attempt": 0,
        "move": 0,
        "origin": "fgen",
        "parent": "",
        "symmetric_start": False,
    }
    return TrialInfo(**values | changes)


def make_trial(trial, atoms, **changes):
    """A trial with its structure."""
    return Trial(trial_info(trial, **changes), atoms)
