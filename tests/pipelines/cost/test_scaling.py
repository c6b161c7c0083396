"""What large folders take, by hand."""

import tracemalloc

import pytest

from gradebook.pipelines.cost.scaling import Scale, bytes_a_sample, main, needs


def test_the_arithmetic_by_hand():
    """36 million images, all kept, seen twice; 10 devices score 100 and learn from 50 images a second each."""
    assumed = Scale(
        devices=10,
        score_rate=100,
        train_rate=50,
        epochs=2,
        keep=1e9,
        classes=10,
        dim=4,
        image_bytes=1000,
        row_bytes=20,
        gpu_hour=3,
        tb_month=10,
    )
    found = needs(assumed, 36e6)
    assert (found.pool_hours, found.embed_hours, found.train_hours) == (0, 10, 40)
    assert found.dollars == pytest.approx(50 * 10 * 3)
    assert (found.files_tb, found.read_gb) == pytest.approx((0.036, 0.001))
    assert (found.vectors_gb, found.record_gb, found.predictions_gb) == pytest.approx((0.288, 1.44, 2.88))
    assert found.dollars_month == pytest.approx(10 * (36e9 + 0.288e9 + 1.44e9) / 1e12)


def test_what_is_filtered_is_scored_once_and_only_the_rest_is_embedded():
    assumed = Scale(devices=1, score_rate=100, train_rate=100, epochs=1, keep=3600, decode_rate=10, cores=5)
    found = needs(assumed, 360e3)
    assert found.kept == 3600
    assert (found.pool_hours, found.embed_hours) == (2, 0.02), (
        "five cores read 50 images a second: less than a GPU scores"
    )


def test_a_samples_bytes_are_those_of_its_parts():
    assert 200 + 32 + 40 < bytes_a_sample() < 2000
    assert not tracemalloc.is_tracing()


def test_the_table_has_a_column_a_size(capsys):
    assert main(["--images", "1e3", "1e6", "1e9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| | 1,000 images | 1,000,000 images | 1,000,000,000 images |"
    assert {line.count("|") for line in lines if line.startswith("|")} == {5}
    assert "--images 1e3 1e6 1e9" in "".join(lines[-2:])
