"""What the user declares, and the plain words that the rooms share."""
