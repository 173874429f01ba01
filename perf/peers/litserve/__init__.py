"""Job 1 by LitServe around ONNX Runtime."""
