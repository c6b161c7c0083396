"""The trainer: what `pipelines/train.py` consists of."""
