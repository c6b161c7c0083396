"""What must hold of a project, a function each; `gradebook.pipelines.maintenance.verify` asks them all."""
