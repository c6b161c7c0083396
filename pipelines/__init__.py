"""Jobs: each is a function, and a subcommand of `gradebook`."""

import os

# Before anything loads OpenMP: threads that spin while they wait make two programs on two cores ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
