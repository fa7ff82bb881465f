"""What generators need, as a search with the settings of the protocols has it."""

from aiida_fuse2.core.generators import GeneratorContext
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs


def context_of(formula, max_atoms, min_atoms=1, **changes):
    """Return the context of a search for a composition, with changed settings."""
    values = protocol_inputs("balanced", {"settings": changes})["settings"]
    settings = parse_settings(SearchSettings, {**values, "composition": formula})
    return GeneratorContext.of(
        settings, settings.validity, max_atoms=max_atoms, min_atoms=min_atoms, known=settings.known
    )
