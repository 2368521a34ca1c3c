"""One module per study: the question, its baselines, metrics, and controls that must fail."""
