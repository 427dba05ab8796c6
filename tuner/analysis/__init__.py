"""What a study's results mean: final stage, statistics, baselines, Pareto front, test score."""
