"""Lets players, which are processes of their own, import the games and agents that tests make up."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
