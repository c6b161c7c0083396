"""The programs that `benchmarks.reference` compares, each in its own process: Gradebook's trainer and public ones.

A contender gets a `Task` on its command line, trains until its clock stops it, and prints the clock's measurement.
"""
