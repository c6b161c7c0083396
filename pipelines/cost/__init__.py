"""What training takes before it is tried: on many devices, at large scale, and where a step's time and memory go."""
