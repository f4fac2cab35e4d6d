"""`tf.test` and `test_util`: test cases that hold a session, and assertions about arrays, graphs and gradients.

Source: tensorflow/python/platform/{test,googletest}.py, tensorflow/python/framework/test_util.py and
tensorflow/python/ops/gradient_checker.py (1.15).
"""
