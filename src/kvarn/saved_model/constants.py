"""Names of files, folders and collections of SavedModels.

Source: tensorflow/python/saved_model/constants.py (1.15).
"""

from __future__ import annotations

from typing import Final

SAVED_MODEL_SCHEMA_VERSION: Final = 1

SAVED_MODEL_FILENAME_PB: Final = "saved_model.pb"
SAVED_MODEL_FILENAME_PBTXT: Final = "saved_model.pbtxt"
SAVED_MODEL_FILENAME_JSON: Final = "saved_model.json"

VARIABLES_DIRECTORY: Final = "variables"
VARIABLES_FILENAME: Final = "variables"
ASSETS_DIRECTORY: Final = "assets"
EXTRA_ASSETS_DIRECTORY: Final = "assets.extra"

# Collections of a meta graph.
ASSETS_KEY: Final = "saved_model_assets"
MAIN_OP_KEY: Final = "saved_model_main_op"
LEGACY_INIT_OP_KEY: Final = "legacy_init_op"
TRAIN_OP_KEY: Final = "saved_model_train_op"

# Signatures that only name an operation.
INIT_OP_SIGNATURE_KEY: Final = "__saved_model_init_op"
TRAIN_OP_SIGNATURE_KEY: Final = "__saved_model_train_op"
