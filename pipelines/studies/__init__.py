"""Studies that evaluate methods, reasons and the queue; each prints a table of docs/results.md."""
