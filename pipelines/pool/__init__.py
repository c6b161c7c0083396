"""A pool for semi-supervised training: the surest images of each class out of a folder of any size."""
