"""What must hold of a project, a function each; `pipelines.maintenance.verify` asks them all."""
