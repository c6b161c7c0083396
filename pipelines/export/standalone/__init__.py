"""A program that `gradebook export` copies beside the model; it imports nothing of Gradebook."""
