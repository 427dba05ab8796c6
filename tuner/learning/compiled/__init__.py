"""The compiled training step for the CPU."""
