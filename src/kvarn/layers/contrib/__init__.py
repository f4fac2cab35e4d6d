"""The plain parts of `tf.contrib.layers`, and the argument scopes of `tf.contrib.framework`."""
