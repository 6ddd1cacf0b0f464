"""Which seeds may be recorded. Apart from the games, so that a server that has none of their libraries can ask, too."""

from typing import Final

from gi_model.errors import ConfigError

EVAL_SEED_START: Final = 1_000_000
"""Episode seeds from here on belong to evaluation, in every game; recording refuses them."""


def check_seed(seed: int) -> None:
    """Refuse seeds that belong to evaluation, or are negative."""
    if not 0 <= seed < EVAL_SEED_START:
        do = "Seeds from there on are kept for evaluation: their maps and episodes must never be trained on."
        raise ConfigError("seed cannot be recorded", got=seed, expected=f"0 to {EVAL_SEED_START - 1}", do=do)
