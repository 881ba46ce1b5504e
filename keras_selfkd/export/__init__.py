"""Ship the student: LiteRT, SavedModel and ONNX files, each checked after writing."""

from keras_selfkd.export.student import (
    export_onnx,
    export_saved_model,
    export_student,
)

__all__ = ["export_onnx", "export_saved_model", "export_student"]
