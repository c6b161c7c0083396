"""The cost of training: time and memory of a step on this machine, and a plan for many devices."""
