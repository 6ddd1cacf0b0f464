"""Other people's servers, each in a script of its own: run by the Python of an environment that has them, not by ours.

A script imports nothing of this project.
"""
