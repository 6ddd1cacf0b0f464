"""The model: action space, frames, policy. What every other department speaks."""

__version__ = "0.1.0"
