"""The methods: one module each says its settings, its steps and its differences from the paper.

Nothing here imports PyTorch: a step names its function, whose module is imported when it runs.
"""
