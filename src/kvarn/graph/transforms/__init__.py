"""Graphs made smaller or otherwise fitter for inference, as GraphDef messages.

transform_graph          `TransformGraph`: TensorFlow's Graph Transform Tool, transforms by name
strip_unused             one part of a graph, with placeholders where it begins
optimize_for_inference   what only training needs goes, batch norms move into the weights

matching finds patterns of nodes and puts others in their place; the other modules are the transforms by subject.
"""
