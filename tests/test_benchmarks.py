"""Benchmarks run on small inputs. The times they print are not tested."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import convolutions as of_convolutions
from benchmarks import decoding as of_decoding
from benchmarks import store as of_store
from gradebook.mpl.backbones import create

pytestmark = pytest.mark.slow


def test_every_kind_of_query_is_timed(tmp_path, capsys):
    sizes = ("--rows", "4000", "--samples", "800", "--vectors", "800", "--dim", "16", "--runs", "2", "--questions", "2")
    assert of_store.main([str(tmp_path / "project"), *sizes]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| (\D+?200|\S.*?) \|(?: [\d.]+ \|){3}$", printed, re.MULTILINE)
    assert len(rows) == 9, printed
    assert float(re.findall(r"([\d.]+)% of the true", printed)[0]) > 90
    assert "fold of 80 rows more" in printed


def test_the_history_of_a_record_alone_is_timed(tmp_path, capsys):
    sizes = ("--rows", "2000", "--samples", "400", "--vectors", "0", "--runs", "2", "--questions", "2")
    assert of_store.main([str(tmp_path / "project"), *sizes]) == 0
    printed = capsys.readouterr().out
    assert (
        len(re.findall(r"^\| history of a sample, (?:all runs|one run)(?: after it)? \|", printed, re.MULTILINE)) == 4
    )


def test_decoding_prints_the_cached_share(capsys):
    assert of_decoding.main(["--images", "2", "--sizes", "16", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| \d+ x \d+ \| 16 \|(?: [\d.]+ \|){4} 1 of (\d+) \|$", printed, re.MULTILINE)
    assert len(rows) == 2 and int(rows[0]) > int(rows[1]), printed


def test_the_bound_of_a_step_counts_its_convolutions(capsys):
    sizes = ("--backbone", "wrn_10_1", "--size", "8", "--labelled", "2", "--rounds", "1")
    assert of_convolutions.main(sizes) == 0
    *_, every = re.findall(r"^\| (\S.*?) \| (\d+) \|", capsys.readouterr().out, re.MULTILINE)
    assert every == ("all", "69")
    net, asked = create("wrn_10_1", weights="random")[0], of_convolutions.Bound(size=8, rounds=1)
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(16, 3, 8, 8)).sum().backward()
    labels, *_, learns = (of_convolutions.measured(net, part, asked)[1] for part in of_convolutions.parts(2, 7))
    counted = counter.get_flop_counts()["Global"].values()
    assert [1e9 * labels, 1e9 * learns] == pytest.approx(list(counted))
