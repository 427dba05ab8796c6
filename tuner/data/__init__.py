"""Rows from what a user has: readers, the fitted preprocessor, the split, the fingerprint."""
