"""The durable record of studies on SQLite or Postgres: what is not written here did not happen."""
