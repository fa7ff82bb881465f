"""Tiers of relaxation as plugins: one class each, found by the entry point group ``aiida_fuse2.tiers``."""

from __future__ import annotations

from .base import BatchTier, SingleTier, Tier, TierInputs, TierResult
from .building import TierChoice, build_tiers, changes_of_tiers, only_tier
from .ranking import RANKING, build_ranking, check_ranking
from .registry import (
    check_tiers,
    energy_identity,
    find_tier,
    load_tier,
    own_tier_names,
    read_tiers,
    tier_key,
    tier_names,
)

__all__ = [
    "RANKING",
    "BatchTier",
    "SingleTier",
    "Tier",
    "TierChoice",
    "TierInputs",
    "TierResult",
    "build_ranking",
    "build_tiers",
    "changes_of_tiers",
    "check_ranking",
    "check_tiers",
    "energy_identity",
    "find_tier",
    "load_tier",
    "only_tier",
    "own_tier_names",
    "read_tiers",
    "tier_key",
    "tier_names",
]
