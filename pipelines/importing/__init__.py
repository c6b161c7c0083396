"""Importing: from whatever holds images and labels to samples; nothing there is moved, changed or deleted."""
