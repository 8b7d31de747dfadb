"""A small drawn world: scenes, their pictures, what can be said of them, and a pool of them served over HTTP with planted faults."""
