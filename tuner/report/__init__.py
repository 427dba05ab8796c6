"""What is to be looked at: the report's page, figures, comparison, MLflow's files of an answer."""
