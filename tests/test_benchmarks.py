"""Benchmarks run on small inputs. The times they print are not tested."""

import re

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import convolutions as of_convolutions
from benchmarks import decoding as of_decoding
from benchmarks import gpu as of_gpu
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
    assert "fold of 80 more rows" in printed


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


def test_a_device_trains_a_step_embeds_and_trains_for_a_while(tmp_path, capsys):
    for split, label, number in ((s, c, n) for s in ("train", "test") for c in ("owl", "fox") for n in range(6)):
        path = tmp_path / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (40 + 8 * number, 90, 200) if label == "owl" else (200, 90, 40 + 8 * number)
        Image.new("RGB", (8, 8), colour).save(path)
    networks = ("--networks", "wrn_10_1", "--labelled", "1", "--size", "8", "--steps", "1", "--matrix", "64")
    frozen = ("--backbones", "wrn_10_1", "--images", "4", "--precision", "no")
    training = ("--cifar10", str(tmp_path), "--labels", "4", "--preset", "cifar10_cpu", "--minutes", "0.001")
    assert of_gpu.main((*networks, *frozen, *training)) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^\| wrn_10_1, 8 px \| 8 \| \d+ \| \S+ \| \d+% \|$", printed, re.MULTILINE), printed
    assert re.search(r"^\| wrn_10_1, 8 px \| [\d,]+ \|$", printed, re.MULTILINE), printed
    assert re.search(r"with 4 labels: \d+\.\d\d % of the test images after 10 steps in ", printed), printed
