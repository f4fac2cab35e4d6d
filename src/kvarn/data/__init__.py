"""Input of programs: record files, parsing of examples, and `tf.data`."""
