"""Imports images and labels into a project. The files are never moved, changed or deleted."""
