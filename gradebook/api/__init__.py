"""The Python API: projects, runs and tables, as thin wrappers of what the commands call. `gradebook` exports its names.

Tables are pandas DataFrames, made when they are asked for. Progress is reported on standard error, as by the commands.
What a user can correct raises `gradebook.ProjectError`, whose message says what is wrong and what to do.
"""
