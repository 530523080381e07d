"""`make lint` refuses imports against the arrows."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from check_arrows import faults

TABLE = {
    "modules": {"image": [], "labels": ["image"], "ros": ["labels", "image"]},
    "crates": {"r2r": ["ros"]},
}


def crate_with(folder: Path, **files: str) -> Path:
    """A src/ folder whose lib.rs re-exports `ImageView`, with these modules."""
    (folder / "lib.rs").write_text("pub mod image;\npub use image::{ImageError, ImageView};\n")
    for name, code in files.items():
        file = folder / f"{name.replace('__', '/')}.rs"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    return folder


def test_arrows_of_the_table_pass(tmp_path: Path) -> None:
    source = crate_with(
        tmp_path,
        labels="use crate::image::ImageView;",
        ros="use crate::{image, labels::{Mask, Table}};\nuse r2r::Node;",
        ros__node="use super::params; use super::super::labels::Mask;",
    )
    assert list(faults(source, TABLE)) == []


def test_every_way_to_write_a_wrong_import_is_found(tmp_path: Path) -> None:
    for code in (
        "use crate::labels::LabelMask;",
        "use crate::{image::ImageView, labels};",
        "use super::labels;",
        "fn f() -> crate :: labels :: LabelMask { todo() }",
    ):
        found = list(faults(crate_with(tmp_path, image=code), TABLE))
        assert len(found) == 1, code
        assert "`image` may not use `labels`" in found[0]


def test_a_re_export_counts_as_its_module(tmp_path: Path) -> None:
    table = {"modules": {"image": [], "labels": []}, "crates": {}}
    found = list(faults(crate_with(tmp_path, labels="use crate::ImageView;"), table))
    assert "`labels` may not use `image`" in found[0]


def test_comments_strings_and_unit_tests_are_no_imports(tmp_path: Path) -> None:
    code = """
// use crate::labels::X;
const A: &str = "crate::labels::X";
const B: &str = r#"crate::labels::X"#;
#[cfg(test)]
mod tests { use crate::labels::X; }
"""
    assert list(faults(crate_with(tmp_path, image=code), TABLE)) == []


def test_r2r_outside_ros_is_found(tmp_path: Path) -> None:
    found = list(faults(crate_with(tmp_path, labels="use r2r::Node;"), TABLE))
    assert "the crate `r2r` stays in ros" in found[0]


def test_a_module_without_a_line_is_found(tmp_path: Path) -> None:
    found = list(faults(crate_with(tmp_path, radar="fn f() {}"), TABLE))
    assert "`radar` has no line" in found[0]
