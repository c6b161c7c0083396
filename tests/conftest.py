import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `pipelines` does, before any test loads torch
