"""The loaders, on made files."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ecmnet_training.classes import CAMVID, CITYSCAPES
from ecmnet_training.data import SegmentationSet, load_camvid, load_cityscapes, load_pairs


def write_image(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def made_picture(height: int, width: int) -> np.ndarray:
    return np.arange(height * width * 3).reshape(height, width, 3) % 251


def test_cityscapes_label_ids_become_class_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 7, 8], [24, 33, 29]])  # unlabeled, road, sidewalk; person, bicycle, caravan
    for i in range(2):
        stem = f"made_{i:06}_000019"
        write_image(tmp_path / f"leftImg8bit/train/made/{stem}_leftImg8bit.png", made_picture(2, 3))
        write_image(tmp_path / f"gtFine/train/made/{stem}_gtFine_labelIds.png", ids)
    frames = load_cityscapes(tmp_path, "train", (2, 3))
    assert frames.names == ("made_000000_000019", "made_000001_000019")
    assert frames.labels[0].tolist() == [[255, 0, 1], [11, 18, 255]]
    assert frames.classes is CITYSCAPES and len(frames.classes) == 19
    assert frames.images[0].permute(1, 2, 0).numpy().tolist() == made_picture(2, 3).tolist()


def test_cityscapes_labels_are_resized_without_mixing_ids(tmp_path: Path) -> None:
    stem = tmp_path / "leftImg8bit/train/made/made_0_0_leftImg8bit.png"
    write_image(stem, made_picture(8, 16))
    ids = np.where(np.arange(16) < 8, 7, 26) * np.ones((8, 1))
    write_image(tmp_path / "gtFine/train/made/made_0_0_gtFine_labelIds.png", ids)
    frames = load_cityscapes(tmp_path, "train", (4, 8))
    assert sorted(np.unique(frames.labels).tolist()) == [0, 13]


def made_camvid(folder: Path) -> None:
    for split, names in (("train", ["0001TP_1", "0016E5_1"]), ("val", ["0016E5_f2"])):
        lines = []
        for name in names:
            write_image(folder / f"{split}/{name}.png", made_picture(4, 6))
            write_image(folder / f"{split}annot/{name}.png", np.full((4, 6), 11))
            lines.append(f"{split}/{name}.png {split}annot/{name}.png")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")


def test_camvid_reads_the_same_from_its_tar_and_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    made_camvid(folder)
    with tarfile.open(tmp_path / "camvid_trainval.tar", "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, str(path.relative_to(folder)))
    from_tar, from_folder = load_camvid(tmp_path), load_camvid(folder)
    assert from_tar.names == from_folder.names == ("0001TP_1", "0016E5_1", "0016E5_f2")
    assert (from_tar.images == from_folder.images).all()


def test_a_drive_held_out_takes_its_val_frames_with_it(tmp_path: Path) -> None:
    made_camvid(tmp_path)
    kept, held_out = load_camvid(tmp_path).split(["0016E5"])
    assert kept.names == ("0001TP_1",)
    assert held_out.names == ("0016E5_1", "0016E5_f2")
    with pytest.raises(ValueError, match="Seq05VD"):
        load_camvid(tmp_path).split(["Seq05VD"])


def test_pairs_take_their_classes_from_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", made_picture(4, 6))
    write_image(tmp_path / "b.png", np.array([[0, 1, 9]] * 4).repeat(2, axis=1))
    (tmp_path / "list.txt").write_text("a.png b.png\n")
    table = {
        "ignore_id": 9,
        "classes": [
            {"id": 0, "name": "Road", "rgb": [1, 2, 3]},
            {"id": 1, "name": "Rest", "rgb": [4, 5, 6]},
            {"id": 9, "name": "void", "rgb": [0, 0, 0], "ignore": True},
        ],
    }
    (tmp_path / "classes.json").write_text(json.dumps(table))
    frames = load_pairs(tmp_path)
    assert frames.classes.names == ("Road", "Rest") and frames.classes.drivable == ("Road",)


def test_a_label_that_is_no_class_names_its_frame(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", made_picture(4, 6))
    write_image(tmp_path / "b.png", np.full((4, 6), len(CAMVID) + 1))
    (tmp_path / "list.txt").write_text("a.png b.png\n")
    with pytest.raises(ValueError, match="a: label id 12"):
        load_pairs(tmp_path, classes="camvid")


def test_frames_of_one_second_of_a_drive_are_counted_together() -> None:
    names = ("0001TP_006690", "0001TP_006720", "0006R0_f02040", "0016E5_07951", "0016E5_07953")
    one = torch.zeros(len(names), 1, 1, dtype=torch.uint8)
    frames = SegmentationSet(one[:, None].expand(-1, 3, 1, 1), one, names, CAMVID)
    assert frames.seconds().tolist() == [1, 1, 1, 2, 2]
