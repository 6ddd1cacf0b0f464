"""Importers: other people's recordings of play become ours (`source.py` says what an importer is)."""
