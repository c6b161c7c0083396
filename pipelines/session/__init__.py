"""A live session: one process for each project that trains while people label."""
