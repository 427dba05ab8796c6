"""A trained model in use: plain module, numpy, ONNX, torch.export."""
