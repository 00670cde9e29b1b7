"""Classification of images and volumes."""
