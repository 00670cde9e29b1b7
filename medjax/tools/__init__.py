"""Programs that know no family: predict, share, compare."""
