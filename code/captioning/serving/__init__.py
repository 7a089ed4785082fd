"""A captioner at work: files and folders, the web page, ONNX, Ray, requests, and submissions."""
