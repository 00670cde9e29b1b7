"""The frames that matter in a sequence."""
