"""SavedModels: graphs with tags and signatures, their variables and their files, in one folder.

    DIR/saved_model.pb        the SavedModel message: one meta graph for each set of tags (or .pbtxt)
    DIR/variables/variables.* one checkpoint that all its graphs share
    DIR/assets/               files that the graphs read, such as vocabularies
    DIR/assets.extra/         files of others, which no function here touches

builder    `SavedModelBuilder` writes such a folder, saved_model.pb last: without it there is no model
loader     `load` brings one of its graphs into a session
simple_save  both signatures and builder in one call
signature_def_utils, utils   messages that say which tensors of a graph are its inputs and outputs
main_op    operations to be run when a model is loaded
"""
