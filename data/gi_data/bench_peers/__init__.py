"""Other people's readers, each in a script of its own: run by the Python of an environment that has them, not by ours.

A script imports nothing of this project. It takes one argument, a JSON file (its job), and prints one line of JSON:
{"frames", "cpu_s", "wall_s"}, or {"missing": why} where its package is not there.
"""
