"""What lies on disk: the schema of a pair, column files, tars, the indexes of every trainer, shard statistics."""
