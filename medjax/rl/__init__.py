"""Learning from rewards: knows nothing of medicine."""
