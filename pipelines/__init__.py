"""Jobs: each is a function, and a subcommand of `gradebook`."""

import os

# Before anything loads OpenMP: threads that spin while they wait make two programs on two cores ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before anything loads torch: large tensors begin at whole 2 MB. glibc finds no use for the gaps that others leave.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# Before anything loads torch: compute on the CPU what Apple's GPUs lack, instead of failing.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
