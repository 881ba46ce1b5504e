import math

import numpy as np
import pytest

from examples.results import study_pictures, study_table

SCORES = {
    ("plain", 0): 0.70,
    ("plain", 1): 0.72,
    ("plain", 2): 0.71,
    ("better", 0): 0.74,
    ("better", 1): 0.75,
    ("better", 2): 0.76,
    ("noisy", 0): 0.60,
    ("noisy", 1): 0.80,
    ("noisy", 2): 0.75,
}
RATIOS = {"plain": 1.0, "better": 1.6, "noisy": 1.0, "gone": 2.0}
COSTS = {leg: {"ratio": ratio} for leg, ratio in RATIOS.items()}


def result(leg, seed, accuracy, budget=10):
    found = {"leg": leg, "seed": seed, "budget": budget, "epochs": budget, "note": ""}
    found |= {"flags": ["--fast"], "labels": ["cat", "dog"]}
    if accuracy is None:
        return found | {"diverged": "Training diverged."}
    score = {"accuracy": accuracy, "nll": 1.5, "calibration_error": 0.1}
    score["validation"] = 0.5
    score["class_accuracy"] = [accuracy, None]
    return found | {"seconds": 2.0, "score": score}


def rows(scores=SCORES, **options):
    results = [result(*key, accuracy, **options) for key, accuracy in scores.items()]
    return study_table.rows_of(results, COSTS, "accuracy", "class_accuracy")


def test_differences_are_paired_with_a_t_interval():
    better, noisy = study_table.compare(rows(), "accuracy", "plain")
    np.testing.assert_allclose(better.differences, [0.04, 0.03, 0.05])
    # 97.5 % of Student's t with 2 degrees of freedom lie below 4.302653.
    half = 4.302653 * np.std(better.differences, ddof=1) / math.sqrt(3)
    assert better.interval == pytest.approx((0.04 - half, 0.04 + half), rel=1e-5)
    assert better.tells
    assert not noisy.tells


def test_the_table_and_what_it_says():
    lines = study_table.table(rows(), "accuracy", "plain").splitlines()
    assert lines[2] == (
        "| plain | 10 | 1.00 | 3 | 71.00 ± 1.00 |  | 1.50 ± 0.00 | 10.00 ± 0.00 "
        "| 50.00 ± 0.00 |"
    )
    assert (
        "| better | 10 | 1.60 | 3 | 75.00 ± 1.00 | +4.00 [+1.52, +6.48] |" in lines[3]
    )
    said = study_table.verdict(rows(), "accuracy", "plain")
    assert "difference to plain of better (+4.00 points); no larger than" in said
    assert "that spread is that of noisy (95 % t intervals" in said


def test_one_seed_tells_nothing():
    found = rows({("plain", 0): 0.7, ("better", 0): 0.9})
    said = study_table.verdict(found, "accuracy", "plain")
    assert said.startswith("Two seeds at least, of it and of plain, would tell more of")
    assert "| +20.00 |" in study_table.table(found, "accuracy", "plain")


def test_equal_differences_have_an_interval_too():
    found = rows({k: 0.5 + 0.25 * (k[0] == "better") for k in SCORES})
    assert study_table.compare(found, "accuracy", "plain")[0].interval == (0.25, 0.25)


def test_what_diverged_is_a_row_that_says_so_and_counts_nowhere(tmp_path):
    found = rows({**SCORES, ("better", 1): None})
    better, _ = study_table.compare(found, "accuracy", "plain")
    np.testing.assert_allclose(better.differences, [0.04, 0.05])
    table = study_table.table(found, "accuracy", "plain")
    assert "75.00 ± 1.41 (1 of 3 diverged)" in table
    study_table.write_csv(tmp_path / "results.csv", found)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0].endswith("flags,class_accuracy: cat,class_accuracy: dog")
    assert lines[5] == "better,1,10,10,1.6,,,,,,Training diverged.,,--fast,,"
    gone = rows({**SCORES, **{("better", seed): None for seed in range(3)}})
    said = study_table.verdict(gone, "accuracy", "plain")
    assert said.startswith("No larger than that spread is that of noisy; two seeds")
    gone = rows({("plain", 0): 0.5, ("better", 0): None})
    assert "(1 of 1 diverged)" in study_table.table(gone, "accuracy", "plain")


def test_budgets_are_told_apart():
    found = [*rows(), *rows(budget=40)]
    assert len(study_table.table(found, "accuracy", "plain").splitlines()) == 8
    said = study_table.verdict(found, "accuracy", "plain")
    assert "better at 10 epochs (+4.00 points), better at 40 epochs" in said


def test_score_by_time_has_a_line_for_each_leg_and_a_point_for_each_seed(
    tmp_path, figures
):
    found = [*rows(), *rows(budget=40), *rows({("gone", 0): None})]
    study_pictures.draw_score_by_time(found, "accuracy", tmp_path / "a.png", "digits")
    axes = figures[0].axes[0]
    means = {line.get_label(): line.get_xydata() for line in axes.lines[::2]}
    assert list(means) == ["plain", "better", "noisy"]
    np.testing.assert_allclose(means["better"], [[1.6, 75.0], [6.4, 75.0]])
    assert [len(line.get_xdata()) for line in axes.lines[1::2]] == [6, 6, 6]
    assert (tmp_path / "a.png").exists()


def test_reliability_is_accuracy_by_confidence(tmp_path, figures):
    sums = {"weight": [0, 10], "confidence": [0, 9.0], "correct": [0, 6.0]}
    bins = {"plain": {name: np.array(value) for name, value in sums.items()}}
    study_pictures.draw_reliability(bins, tmp_path / "a.png", "digits")
    _, line = figures[0].axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [[0.9, 0.6]])
    assert line.get_label() == "plain, ECE 30.0%"


def test_confusions_are_shares_of_the_true_class(tmp_path, figures):
    matrices = {"plain": np.array([[3, 1], [0, 0]]), "frskd": np.eye(2, dtype=int)}
    study_pictures.draw_confusions(matrices, ["cat", "dog"], tmp_path / "a.png")
    first, second, _ = figures[0].axes
    np.testing.assert_allclose(first.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert second.get_title() == "frskd"
    assert [text.get_text() for text in first.texts] == ["75", "25"]


def test_names_that_would_hide_each_other_or_break_a_file(tmp_path):
    found = result("a|$b$", 0, 0.5) | {"labels": ["cat", "cat"]}
    costs = {"a|$b$": {"ratio": 1.0}}
    (row,) = study_table.rows_of([found], costs, "accuracy", "class_accuracy")
    assert {"class_accuracy: cat (0)", "class_accuracy: cat (1)"} <= row.keys()
    assert r"| a\|$b$ |" in study_table.table([row], "accuracy", "plain")
    study_pictures.draw_score_by_time([row], "accuracy", tmp_path / "a.png", "")
