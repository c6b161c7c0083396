"""Tries to break what Gradebook promises: kills, races, damaged files, received projects, web requests.

`python -m tests.attack` runs all of it and prints the table of docs/trust.md.
"""
