"""Summaries for TensorBoard: operations that make them, and writers of event files.

summary       scalar, histogram, image, audio, text, tensor_summary, merge, merge_all
logging_ops   the same as programs of before 2017 call it
writer        `FileWriter`; `writer_cache` has one for each folder
event_file_writer      what a FileWriter writes through: a thread and an event file
event_file_writer_v2   what it writes through if it has a session: operations, and a `resource_writer`
summary_iterator       the events of a file
plugin_asset           files that a plugin of TensorBoard wants beside the events
"""
