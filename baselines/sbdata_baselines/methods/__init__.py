"""The methods: one module each with its settings, steps and differences from the paper.

No module here imports PyTorch: a step names its function, whose module is imported when it runs.
"""
