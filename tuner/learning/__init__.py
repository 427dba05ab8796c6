"""torch and nothing else: one autoencoder as a plain module, and many of them trained as one stack of tensors."""
