"""Folders that look like classes are proposed as such; albums, dates and splits are not."""

import pytest

from gradebook.pipelines.importing.class_folders import propose_classes


@pytest.mark.parametrize(
    ("paths", "proposed"),
    [
        (["/p/cats/1.jpg", "/p/dogs/2.jpg", "/p/dogs/3.jpg"], ["cats", "dogs"]),
        (["/p/train/cat/1.jpg", "/p/val/cat/2.jpg", "/p/train/dog/3.jpg"], ["cat", "dog"]),
        (["/p/cats/images/1.jpg", "/p/dogs/images/2.jpg"], ["cats", "dogs"]),
        (["/p/0/1.jpg", "/p/7/2.jpg"], ["0", "7"]),
        (["/p/1.jpg", "/p/2.jpg"], []),
        (["/p/cats/1.jpg"], []),
        (["/p/2024/1.jpg", "/p/2025/2.jpg"], []),
        (["/p/2024-07-01/1.jpg", "/p/2024-07-02/2.jpg"], []),
        (["/p/100CANON/1.jpg", "/p/101CANON/2.jpg"], []),
        (["/p/train/1.jpg", "/p/test/2.jpg"], []),
        (["/p/cats/1.jpg", "/p/dogs/2.jpg", "/elsewhere/holidays/3.jpg"], []),
        ([f"/p/album {n}/1.jpg" for n in range(200)], []),
        ([], []),
    ],
)
def test_names_of_folders_are_proposed_only_where_they_look_like_classes(paths, proposed):
    assert propose_classes(paths) == proposed
