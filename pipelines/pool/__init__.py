"""Choosing unlabelled images from a folder of any size, by the probabilities of a classifier."""
