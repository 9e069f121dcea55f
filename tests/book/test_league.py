"""The league table is what its command computes."""

import csv
import math

import league
import pytest
import torch

from lecture_pkg import exact
from lecture_pkg.data import digits
from lecture_pkg.models import load_weights

ROWS = {(r["モデル"], r["学習"]): r for r in csv.DictReader(league.RESULTS.open(encoding="utf-8"))}


def test_the_table_has_every_entry_from_worst_to_best():
    assert set(ROWS) == {(entry.name, entry.rule) for entry in league.ENTRIES}
    values = [float(row["テスト"]) for row in ROWS.values()]
    assert values == sorted(values)


def test_the_shipped_model_has_its_score():
    stored = ROWS["RBM（隠れ 25）", "PCD-5、中心化、長く"]
    x, model = digits("binary", "test"), load_weights("rbm_digits_25")
    expected = float(exact.log_likelihood(model, x).detach())
    assert float(stored["テスト"]) == pytest.approx(expected, abs=0.005)


def test_the_simplest_rows_by_hand():
    """Mistake 9 of public code: every row has this split and this threshold."""
    assert float(ROWS["一様分布", "なし"]["テスト"]) == pytest.approx(-64 * math.log(2), abs=0.005)
    train, test = (digits("binary", split) for split in ("train", "test"))
    p = (train.sum(0) + 1) / (len(train) + 2)
    expected = (test * p.log() + (1 - test) * torch.log1p(-p)).sum(1).mean()
    assert float(ROWS["独立な画素", "最尤法"]["テスト"]) == pytest.approx(
        float(expected), abs=0.005
    )


def test_training_again_gives_the_same_number():
    """One of the three seeds; the mean of all lies within their width of it."""
    entry = next(entry for entry in league.ENTRIES if entry.rule == "CD-1")
    stored = ROWS[entry.name, entry.rule]
    again = league.evaluate(league.train(entry, league.SEEDS[0]), "test")
    assert again.kind == "exact"
    assert stored["数の種類"] == "厳密"
    assert again.value == pytest.approx(float(stored["テスト"]), abs=float(stored["種による幅"]))


def test_an_estimate_lies_between_its_ends():
    """Mistake 9 of public code: an estimate or a bound must not pass for an exact value."""
    assert {row["数の種類"].split("、")[0] for row in ROWS.values()} == {"厳密", "AIS"}
    for row in ROWS.values():
        if row["数の種類"].startswith("AIS"):
            lower, upper = (float(t) for t in row["数の種類"][4:-3].split(" から "))
            assert lower <= float(row["テスト"]) <= upper
            assert upper - lower < 0.2
