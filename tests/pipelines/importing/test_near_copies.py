"""Near-copies across splits are leaks, and frames of a fixed camera are no copies."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.cli.formatting import import_summary
from gradebook.pipelines.cli.main import main
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.importing.near_copies import split_leaks
from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage.project import create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import open_store
from tests.pipelines.importing.folders import counts, put
from tests.storage.test_image_detail import frame


def resaved(path: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    Image.open(path).convert("RGB").save(to, quality=85)
    return to


def test_a_near_copy_in_the_other_split_is_a_leak(quick, images):
    first = put(images / "train" / "cat" / "1.png", 1, size=(64, 64))
    put(images / "train" / "cat" / "2.png", 2, size=(64, 64))
    copy = resaved(first, images / "test" / "cat" / "3.jpg")
    report = import_images(quick, images, labels="folders")
    assert report.near_leak_pairs in (((str(copy), str(first)),), ((str(first), str(copy)),))
    assert (report.near_leaks, report.leaks) == (1, 0)
    assert "look almost the same as an image of the other split" in import_summary(report.as_json())


def test_a_near_copy_of_an_image_that_was_imported_earlier_is_a_leak(quick, images):
    first = put(images / "a" / "1.png", 1, size=(64, 64))
    resaved(first, images / "a" / "1-again.jpg")  # closer to the test image than the first one
    import_images(quick, images / "a")
    copy = resaved(images / "a" / "1-again.jpg", images / "b" / "3.jpg")
    assert import_images(quick, images / "b", split=Split.TEST).near_leak_pairs[0][0] == str(copy)


def test_frames_of_a_fixed_camera_are_neither_near_duplicates_nor_leaks(quick, images):
    (images / "train").mkdir(parents=True)
    (images / "test").mkdir()
    for number in range(16):
        frame(number).save(images / ("test" if number % 4 == 0 else "train") / f"{number}.png")
    assert counts(import_images(quick, images)) == {"imported": 16, "test_images": 4}


def test_status_and_verify_name_the_leaks_until_they_are_gone(images, tmp_path, capsys):
    root = create_project(tmp_path / "project", ["cat"]).root
    store = open_store(root)
    first = put(images / "train" / "1.png", 1, size=(64, 64))
    put(images / "train" / "2.png", 2, size=(64, 64))
    import_images(store, images / "train")
    copy = resaved(first, images / "test" / "3.jpg")
    import_images(store, images / "test", split=Split.TEST)
    assert main(["status", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["near_leaks"] == 1
    (finding,) = verify(root).findings
    assert finding.check == "no_near_copies_across_splits" and finding.where == (f"{copy} ~ {first}",)
    assert finding.is_warning and finding.as_json()["warning"]
    assert main(["verify", str(root)]) == 0, "nothing is lost"
    assert capsys.readouterr().out.endswith("events and 0 runs: nothing is lost, 1 warning\n")
    first.unlink()
    assert main(["verify", str(root)]) == 1, "a lost image is no warning"
    assert capsys.readouterr().out.endswith("1 finding, 1 warning\n")
    put(first, 1, size=(64, 64))
    copy.unlink()
    assert main(["forget", str(root), str(copy)]) == 0
    assert split_leaks(open_store(root)) == [] and verify(root).findings == ()


@pytest.mark.parametrize("known", [True, False])
def test_a_pool_leaves_out_the_projects_own_test_split_and_nothing_that_only_looks_like_it(
    tmp_path, monkeypatch, known
):
    from gradebook.pipelines.pool import selection
    from tests.pipelines.colours import make_classifier

    store = open_store(create_project(tmp_path / "project", ["red", "green", "blue"]).root)
    (tmp_path / "test").mkdir()
    (tmp_path / "pool").mkdir()
    frame(0).save(tmp_path / "test" / "0.png")
    for number in range(1, 8):
        frame(number).save(tmp_path / "pool" / f"{number}.png")
    resaved(tmp_path / "test" / "0.png", tmp_path / "pool" / "copy.jpg")
    if known:
        import_images(store, tmp_path / "test", split=Split.TEST)
    make_classifier(tmp_path / "exported")
    scorer = selection.open_scorer(tmp_path / "exported", None)
    monkeypatch.setattr(selection, "open_scorer", lambda place, run: scorer)
    report = selection.select_pool(store.project.root, tmp_path / "pool", tmp_path / "out.csv", per_class=50)
    assert (report.kept, report.like_test) == ((7, 1) if known else (8, 0))


def test_an_import_says_how_levels_became_8_bits_which_picture_is_taken_and_what_is_uniform(quick, images):
    images.mkdir()
    ramp = np.linspace(0, 4095, 64)[None].repeat(40, 0)
    Image.fromarray(ramp.astype(np.uint16)).save(images / "deep.png")
    frames = [Image.fromarray((ramp / shade).astype(np.uint8)) for shade in (17, 34, 51)]
    frames[0].save(images / "stack.tif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (40, 40), (90, 91, 92)).save(images / "grey.png")
    report = import_images(quick, images)
    assert report.converted_files == ((str(images / "deep.png"), "0 to 4095"),)
    assert report.stack_files == ((str(images / "stack.tif"), "the first of 3"),)
    assert report.uniform_files == (str(images / "grey.png"),)
    text = import_summary(report.as_json())
    assert "deep.png: 0 to 4095" in text and "the first of 3" in text and "almost uniform" in text
    assert "different ranges" not in text


def test_an_import_into_an_old_project_says_that_images_were_scaled_by_different_ranges(quick, images):
    settings = quick.project.root / "gradebook.json"
    settings.write_text(settings.read_text().replace('"levels": {}', '"version": 1'))  # one without ranges
    images.mkdir()
    for maximum in (4095, 3000, 60_000):
        ramp = np.linspace(0, maximum, 64)[None].repeat(40, 0)
        Image.fromarray(ramp.astype(np.uint16)).save(images / f"{maximum}.png")
    text = import_summary(import_images(quick, images).as_json())
    assert "by 2 different ranges of levels" in text and "0 to 4095 (2), 0 to 65535 (1)" in text


def test_a_photograph_with_a_preview_in_it_is_no_stack(quick, images):
    put(images / "a.png", 1, size=(64, 64))
    content = io.BytesIO()
    photo = Image.open(images / "a.png")
    photo.save(content, "MPO", save_all=True, append_images=[photo.resize((16, 16))])
    (images / "b.jpg").write_bytes(content.getvalue())
    assert import_images(quick, images).stacks == 0
