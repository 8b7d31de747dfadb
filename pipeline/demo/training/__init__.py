"""Training of the drawn world's small models: ``python -m pairmill.pipeline.demo.training`` makes each from nothing."""
