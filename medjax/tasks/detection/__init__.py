"""Detection: boxes about things."""
