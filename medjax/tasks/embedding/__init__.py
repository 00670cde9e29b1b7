"""Embeddings of images: learned without labels, or for the search of like cases."""
