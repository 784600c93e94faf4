"""A trained model as one ONNX graph, in float32 or int8, checked against torch."""
