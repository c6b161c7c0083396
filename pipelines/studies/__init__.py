"""Studies: what the methods, the reasons and the queue are worth, measured; each prints a table of docs/results.md."""
