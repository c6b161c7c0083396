"""What must hold of a project, a function each; `pipelines.verify` asks them all."""
