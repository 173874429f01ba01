"""Networks, data sets, training, ONNX export, parity and manifests: what fills the model repository."""
