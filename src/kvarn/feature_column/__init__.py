"""`tf.feature_column`: how raw features become the input of a model.

A column says what becomes of a feature and is nothing but its settings.  What applies columns to features makes the
operations and variables: `input_layer` and `linear_model`.

Each column can be asked in two ways.  The newer has a state manager, which holds the variables; the older has the
same names with an underscore before them, and makes variables in the scope where it is asked.  `base.FeatureColumn`
answers the older questions by the newer.
"""
