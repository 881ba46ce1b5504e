import json
import platform
import types

import keras
import numpy as np
import pytest

from examples.results import class_results
from keras_selfkd.files import write_json

LOGITS = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]))


def test_a_result_says_the_versions_that_it_was_made_with():
    data = types.SimpleNamespace(
        name="a", examples={}, label_names=[], mean=np.zeros(1), std=np.ones(1)
    )
    facts = class_results.facts(data, "student", types.SimpleNamespace(note=""))
    versions = json.loads(json.dumps(facts))["versions"]
    assert versions["python"] == platform.python_version()
    assert versions["keras"] == keras.__version__
    assert {"keras_selfkd", "tensorflow", "numpy", "ai-edge-litert"} <= {*versions}


def scores(**others):
    plain = {
        "accuracy": 0.5,
        "interval": [0.4, 0.6],
        "calibration_error": 0.01234,
        "images": 100,
        "parameters": 78426,
        "bytes": 318756,
        "seconds": 12.6,
    }
    return {"supervised": plain, "frskd": plain | others}


def test_score_of_four_images_by_hand():
    score = class_results.rate(LOGITS, np.array([0, 1, 1, 0])).score
    assert score["accuracy"] == 0.75
    assert score["images"] == 4
    # Wilson: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n), z = 1.95996.
    assert score["interval"] == pytest.approx([0.30064, 0.95441], abs=1e-5)
    # Confidences .9, .8, .7, .6, each in a bin of its own; the second is wrong.
    error = (0.1 + 0.8 + 0.3 + 0.4) / 4
    assert score["calibration_error"] == pytest.approx(error, abs=1e-6)
    assert score["class_accuracy"] == [1.0, 0.5]
    nll = -np.mean(np.log([0.9, 0.2, 0.7, 0.6]))
    assert score["nll"] == pytest.approx(nll, rel=1e-6)
    json.dumps(score)


def test_a_class_without_images_has_no_accuracy():
    score = class_results.rate(np.eye(3)[[0, 2]], np.array([0, 0])).score
    assert score["class_accuracy"] == [0.5, None, None]


def test_table_has_a_row_for_each_method():
    header, plain, frskd = class_results.table(scores(accuracy=0.625)).splitlines()
    assert " ".join(header.split()) == (
        "test accuracy 95 % interval ECE parameters LiteRT file training"
    )
    assert " ".join(plain.split()) == (
        "supervised 50.00 % 40.0 - 60.0 % 0.0123 78,426 318,756 bytes 13 s"
    )
    assert " ".join(frskd.split()).startswith("frskd 62.50 %")
    assert len(header) == len(plain) == len(frskd) < 100


def test_table_of_a_run_without_export_says_so():
    plain = scores()["supervised"]
    del plain["bytes"]
    assert " none " in class_results.table({"supervised": plain})


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (0.59, "frskd: +9.00 points, inside the 95 % interval of supervised: too lit"),
        (0.61, "frskd: +11.00 points, outside the 95 % interval of supervised."),
        (0.40, "frskd: -10.00 points, inside the 95 %"),
        (0.39, "frskd: -11.00 points, outside the 95 %"),
    ],
)
def test_verdict_says_whether_the_test_set_can_tell(accuracy, expected):
    assert class_results.verdict(scores(accuracy=accuracy)).startswith(expected)


@pytest.mark.parametrize("what", ["parameters", "bytes"])
def test_students_of_different_size_are_refused(what):
    class_results.check_same_size(scores())
    with pytest.raises(RuntimeError, match=f"same size. Received: {what}="):
        class_results.check_same_size(scores(**{what: 1}))


def test_report_reads_what_was_written(tmp_path):
    result = {
        "note": "FAST",
        "scores": scores(),
        "litert": {"accuracy": 0.5, "agreeing": 1297, "images": 1300},
    }
    write_json(tmp_path / "result.json", result)
    report = class_results.report(tmp_path)
    assert "\nFAST: this shows that it runs, not how well.\n" in report
    assert class_results.table(scores()) in report
    assert class_results.verdict(scores()) in report
    assert "50.00 % test accuracy; 1,297 of 1,300 predictions agree" in report
    assert report.endswith(f"{tmp_path}/: result.json")


def test_report_of_one_method_compares_nothing(tmp_path):
    result = {"note": "", "scores": {"supervised": scores()["supervised"]}}
    write_json(tmp_path / "result.json", result)
    assert "points" not in class_results.report(tmp_path)


@pytest.mark.parametrize(
    ("accuracy", "trained", "said"),
    [(0.25, 0.67, True), (0.25, 0.4, False), (0.9, 0.95, False), (0.1, 0.67, True)],
)
def test_at_chance_although_it_learned(accuracy, trained, said):
    labels = np.arange(24) % 4
    logits = np.eye(4)[(labels + (np.arange(24) >= round(24 * accuracy))) % 4]
    found = {"frskd": class_results.rate(logits, labels).score}
    lines = class_results.at_chance(found, {"frskd": trained}, labels)
    assert len(lines) == said
    if said:
        assert "frskd learned its training images (accuracy 67.0 %)" in lines[0]
        right = 100 * found["frskd"]["accuracy"]
        assert f"on 24 test images its {right:.1f} % (95 % interval " in lines[0]
        assert "surely better than naming one class always (25.0 %)" in lines[0]
        assert "too few test images" in lines[0]
        assert "recalibrate_batch_norm" in lines[0]


def test_chance_is_the_commonest_class():
    labels = np.repeat([0, 1], [90, 10])
    found = {"frskd": class_results.rate(np.eye(2)[labels * 0], labels).score}
    (line,) = class_results.at_chance(found, {"frskd": 0.99}, labels)
    assert "too few test images" not in line
    assert not class_results.at_chance(found, {"frskd": 0.91}, labels)


def test_report_says_that_a_student_is_at_chance(tmp_path):
    result = {"note": "", "scores": scores(), "at_chance": ["frskd learned, but"]}
    write_json(tmp_path / "result.json", result)
    assert "\nfrskd learned, but\n" in class_results.report(tmp_path)
