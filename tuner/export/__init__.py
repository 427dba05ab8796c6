"""One folder to take away: written, read, applied to new rows."""
