"""Job 1 by a web application: FastAPI and uvicorn around ONNX Runtime."""
