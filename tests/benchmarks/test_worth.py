"""The strongest free leg is chosen on validation images, and compared by seed."""

import csv

import pytest

from benchmarks.accuracy import worth

COLUMNS = ["leg", "seed", "budget", "flags", "time", "validation", "accuracy"]
# leg, its flags; validation and test accuracy of seeds 0 and 1 at 10 and 20 epochs.
LEGS = {
    "plain": (
        "--method=supervised",
        [(0.5, 0.50), (0.5, 0.52), (0.6, 0.6), (0.6, 0.6)],
    ),
    # The best on test images, which must not choose it.
    "smoothed": (
        "--method=supervised --label_smoothing=0.1",
        [(0.4, 0.9), (0.4, 0.9), (0.7, 0.65), (0.7, 0.65)],
    ),
    "averaged": (
        "--method=meanteacher --soft_label_weight=0 --averaged",
        [(0.3, 0.2), (0.3, 0.2), (0.5, 0.5), (0.5, 0.5)],
    ),
    "taught": ("--method=ols", [(0.5, 0.53), (0.5, 0.53), (0.8, 0.7), (0.8, 0.68)]),
}


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.csv"
    places = [(10, 0), (10, 1), (20, 0), (20, 1)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for leg, (flags, scores) in LEGS.items():
            for (budget, seed), score in zip(places, scores, strict=True):
                writer.writerow([leg, seed, budget, flags, 1.0, *score])
    return path


def test_the_strongest_free_leg_is_chosen_on_validation_images(results):
    short, long = worth.budgets(*worth.read(results))
    assert (short.epochs, short.free, short.best) == (10, "plain", "taught")
    assert (long.epochs, long.free, long.best) == (20, "smoothed", "taught")
    assert short.gains.keys() == LEGS.keys() - {"plain"}
    assert long.gains.keys() == LEGS.keys() - {"smoothed"}
    assert short.gains["taught"].mean == pytest.approx((0.03 + 0.01) / 2)
    assert long.gains["taught"].mean == pytest.approx((0.05 + 0.03) / 2)


def test_a_diverged_training_is_left_out(results):
    text = results.read_text().splitlines()
    results.write_text("\n".join([*text, "taught,2,20,--method=ols,1.0,,"]) + "\n")
    rows, _ = worth.read(results)
    assert len(rows) == 16


def test_the_table_says_both_comparisons(results):
    text = worth.tables("toy", *worth.read(results))
    row = "| 20 | 60.00 ± 0.00 | smoothed 65.00 ± 0.00 | taught 69.00 ± 1.41 | +4.00"
    assert row in text
    assert "| taught | +2.00 [" in text


def test_the_picture_is_drawn(results, tmp_path):
    worth.draw({"toy": worth.read(results)}, tmp_path / "worth.png")
    assert (tmp_path / "worth.png").read_bytes().startswith(b"\x89PNG")
