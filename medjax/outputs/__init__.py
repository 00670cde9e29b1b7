"""What networks answer with, whichever method trained them."""
