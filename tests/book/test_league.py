"""The league table is what its command computes."""

import csv
import math

import league
import pytest
import torch

from lecture_pkg.data import digits

ROWS = {(r["モデル"], r["学習"]): r for r in csv.DictReader(league.RESULTS.open(encoding="utf-8"))}


def test_the_table_has_every_entry_from_worst_to_best():
    assert set(ROWS) == {(entry.name, entry.rule) for entry in league.ENTRIES}
    values = [float(row["テスト"]) for row in ROWS.values()]
    assert values == sorted(values)


def test_the_simplest_rows_by_hand():
    assert float(ROWS["一様分布", "なし"]["テスト"]) == pytest.approx(-64 * math.log(2), abs=0.005)
    train, test = (digits("binary", split) for split in ("train", "test"))
    p = (train.sum(0) + 1) / (len(train) + 2)
    expected = (test * p.log() + (1 - test) * torch.log1p(-p)).sum(1).mean()
    assert float(ROWS["独立な画素", "最尤法"]["テスト"]) == pytest.approx(
        float(expected), abs=0.005
    )


def test_training_again_gives_the_same_number():
    """Rounding may send another machine's chains elsewhere; the model is then as good."""
    entry = next(entry for entry in league.ENTRIES if entry.rule == "CD-1")
    stored, again = ROWS[entry.name, entry.rule], league.row(entry)
    assert again[2] == stored["パラメータ"]
    assert float(again[4]) == pytest.approx(float(stored["テスト"]), abs=0.1)


def test_an_estimate_lies_between_its_ends():
    for row in ROWS.values():
        if row["数の種類"].startswith("AIS"):
            lower, upper = (float(t) for t in row["数の種類"][4:-3].split(" から "))
            assert lower <= float(row["テスト"]) <= upper
            assert upper - lower < 0.2
