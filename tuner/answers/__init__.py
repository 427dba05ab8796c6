"""What a study answers: frozen, versioned models, and the one place where answers of older versions are read."""
