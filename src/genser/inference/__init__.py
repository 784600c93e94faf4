"""Recognition: load a model and predict, without torch for ONNX files."""
