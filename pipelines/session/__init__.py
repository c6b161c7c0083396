"""A live session: one process for each project, which trains while labels are given."""
