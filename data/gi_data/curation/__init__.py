"""Curation: what of a corpus is worth training on, as a view with a report of what went and why."""
