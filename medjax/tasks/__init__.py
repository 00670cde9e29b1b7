"""What a network is trained to do, as pure functions: loss, predict, score."""
