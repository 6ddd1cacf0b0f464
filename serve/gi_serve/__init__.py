"""Serving: frames in, actions out."""
