import json

from keras_selfkd.export.report import ExportReport


def test_the_report_prints_as_a_table_and_saves_as_json(tmp_path):
    report = ExportReport(
        path="student.tflite",
        bytes=12345,
        operators={"CONV_2D": 2, "MEAN": 1},
        quantize="int8",
        max_difference=0.01234,
        mean_difference=0.00321,
        agreement=0.96875,
        samples=64,
    )
    assert str(report).splitlines() == [
        "file        student.tflite",
        "size        12,345 bytes",
        "weights     int8",
        "operators   2 CONV_2D, 1 MEAN",
        "difference  max 0.012, mean 0.0032",
        "agreement   96.9% of 64 images",
    ]
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert ExportReport(**saved) == report
