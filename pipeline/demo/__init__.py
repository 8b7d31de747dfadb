"""A small drawn world: its scenes, pictures and words, and a pool of them over HTTP with planted faults."""
