"""What players are asked before a page records them, and what their clips say of the answer."""

import hashlib
import secrets
import time
from typing import Final

CONSENT_TEXT: Final = (
    "I agree that the pictures of this game, and the keys and mouse movements with which I play it here, are recorded, "
    "kept by whoever runs this server, and used to train and to test programs that play, under the licence chosen "
    "above. Only the game's own controls are recorded. I may take a recording back by naming its number."
)


def describe_consent(player: str) -> str:
    """What a clip says of its player's consent: who, to what, when."""
    digest = hashlib.sha256(CONSENT_TEXT.encode()).hexdigest()[:16]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"given on the page by {player or 'a player who stays unnamed'} on {day}; text {digest}: {CONSENT_TEXT}"


def new_recording_id(game: str) -> str:
    """A name for files, which a player can tell and nobody can guess."""
    slug = "".join(character if character.isalnum() else "-" for character in game)
    return f"{slug}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(6)}"
