"""MLflow and nothing else: the publisher from the ledger's outbox, the links and the dashboard."""
