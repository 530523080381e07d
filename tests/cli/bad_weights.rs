//! Weights files that are not what they should be.

use std::fs;

use anyhow::Result;

use crate::program::Bench;
use crate::seeded::{seeded_weights, seeded_weights_with};

#[test]
fn each_bad_weights_file_is_an_error_that_says_what_is_wrong() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("one.png", 1)?;
    let good = seeded_weights("A", 11)?;
    let header_bytes = 8 + u64::from_le_bytes(good[..8].try_into()?) as usize;
    let mut with_nan = good.clone();
    with_nan[header_bytes..header_bytes + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let other_plan = seeded_weights("C", 11)?;
    let other_class = [("logit_offsets", r#"{"Lawn": -0.5}"#)];
    let files: [(&str, Vec<u8>, &[&str]); 9] = [
        (
            "cut",
            good[..good.len() - 1].to_vec(),
            &["not a whole safetensors file"],
        ),
        (
            "cut_header",
            good[..100].to_vec(),
            &["not a whole safetensors file"],
        ),
        ("empty", Vec::new(), &["not a whole safetensors file"]),
        (
            "pickle",
            b"\x80\x02}q\x00.".to_vec(),
            &["PyTorch pickle", "training/"],
        ),
        (
            "zip",
            b"PK\x03\x04archive/data.pkl".to_vec(),
            &["PyTorch pickle"],
        ),
        ("nan", with_nan, &["holds NaN or infinity"]),
        (
            "classes",
            with_other_class_count(&good, header_bytes)?,
            &["classifier.weight", "[11, "],
        ),
        ("plan", other_plan, &["key 'plan' is 'C'"]),
        (
            "offsets",
            seeded_weights_with("A", 11, &other_class)?,
            &["key 'logit_offsets'", "in place of 'Lawn'"],
        ),
    ];
    for (name, bytes, parts) in files {
        let file = format!("{name}.safetensors");
        fs::write(bench.path(&file), bytes)?;
        for command in [
            "segment one.png --out out --weights",
            "info",
            "doctor --weights",
        ] {
            let words: Vec<&str> = command.split(' ').chain([file.as_str()]).collect();
            let said = bench.ecmnet(&words)?;
            assert_eq!(said.status, Some(1), "{command} {name}: {}", said.err);
            // The doctor's findings are results, on standard output.
            let text = said.err + &said.out;
            for part in parts {
                assert!(
                    text.contains(part),
                    "{command} {name}: '{part}' is not in\n{text}"
                );
            }
        }
    }
    assert!(!bench.path("out").exists());
    Ok(())
}

#[test]
fn weights_that_are_not_there_are_named() -> Result<()> {
    let bench = Bench::new()?;
    let said = bench.ecmnet(&["info", "gone.safetensors"])?;
    assert_eq!(said.status, Some(1));
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    assert!(
        said.err
            .starts_with("error: gone.safetensors: No such file"),
        "{}",
        said.err
    );
    Ok(())
}

/// Returns the file with twelve classes named in its metadata and eleven in its tensors.
fn with_other_class_count(file: &[u8], header_bytes: usize) -> Result<Vec<u8>> {
    let header = std::str::from_utf8(&file[8..header_bytes])?;
    let twelve = |key: &str, text: &str| {
        let eleven = header.find(&format!("\"{key}\":\"[")).unwrap_or_default();
        let end = eleven + header[eleven..].find("]\"").unwrap_or_default();
        (end, text.to_owned())
    };
    let palette_end = twelve("palette", ",[1,2,3]");
    let palette_end = (
        header[palette_end.0..]
            .find("]]\"")
            .map_or(palette_end.0, |at| palette_end.0 + at + 1),
        palette_end.1,
    );
    let mut insertions = [twelve("classes", ",\\\"more\\\""), palette_end];
    insertions.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut header = header.to_owned();
    for (at, text) in insertions {
        header.insert_str(at, &text);
    }
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend_from_slice(header.as_bytes());
    changed.extend_from_slice(&file[header_bytes..]);
    Ok(changed)
}
