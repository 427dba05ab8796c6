"""Many models trained as one stack of torch tensors."""
