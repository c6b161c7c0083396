"""What `reference.py` compares, a process each: our trainer and the public programs, as they stand.

A side is told a `Task` on its command line, trains until its clock stops it, and prints what the clock read.
"""
