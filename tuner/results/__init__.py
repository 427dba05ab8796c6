"""A study's answer: baselines, tables, the winner's network, the folder to take away."""
