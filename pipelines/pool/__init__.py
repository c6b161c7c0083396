"""Pool selection: chooses unlabelled images from a folder of any size, by the probabilities of a classifier."""
