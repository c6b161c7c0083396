"""Curation: which samples a person should review next, given the results of runs, and the verdicts on them."""
