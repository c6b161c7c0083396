"""The checks of a project, one function each; `gradebook.pipelines.maintenance.verify` runs them all."""
