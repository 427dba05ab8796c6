"""Optuna and nothing else: samplers, pruners, and the study's loop as a state machine."""
