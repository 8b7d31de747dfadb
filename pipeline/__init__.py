"""From a recipe to a graph: configuration, the work folder, the report."""
