"""The hooks that come with TensorFlow, by what they are for.

Source: tensorflow/python/training/basic_session_run_hooks.py (1.15).
"""
