"""What training costs: the time and memory of a step on this machine, and a plan for many devices."""
