//! `ecmnet segment`.

use std::fs;

use anyhow::Result;

use crate::program::{Bench, CLASSES, SIZE, grey_png};
use crate::seeded::seeded_weights_with;

#[test]
fn masks_have_the_images_size_and_class_ids_and_are_the_same_twice() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("one.png", 1)?;
    bench.write_png("two.two.png", 2)?;
    for out in ["out", "again"] {
        let said = bench.network(&format!("segment one.png two.two.png --out {out}"))?;
        assert_eq!(
            (said.status, said.out.as_str()),
            (Some(0), ""),
            "{}",
            said.err
        );
    }
    for name in [
        "one_labels.png",
        "two.two_labels.png",
        "one_overlay.png",
        "two.two_overlay.png",
    ] {
        let [first, again] = ["out", "again"].map(|out| fs::read(bench.path(out).join(name)));
        assert_eq!(first?, again?, "{name}");
    }
    let (width, height, ids) = grey_png(&bench.path("out/one_labels.png"))?;
    assert_eq!([width as usize, height as usize], SIZE);
    assert!(ids.iter().all(|id| *id < CLASSES));
    assert_ne!(ids, grey_png(&bench.path("out/two.two_labels.png"))?.2);
    let overlay = image::open(bench.path("out/one_overlay.png"))?;
    assert_eq!(overlay.color(), image::ColorType::Rgb8);
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_mask() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("one.png", 1)?;
    for threads in [1, 2, 3] {
        bench.network(&format!(
            "segment one.png --out {threads} --threads {threads}"
        ))?;
    }
    let [one, two, three] =
        ["1", "2", "3"].map(|out| fs::read(bench.path(out).join("one_labels.png")));
    let one = one?;
    assert_eq!(one, two?);
    assert_eq!(one, three?);
    Ok(())
}

#[test]
fn a_class_that_the_weights_put_far_below_the_others_is_in_no_mask_and_zeros_change_no_byte()
-> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("one.png", 1)?;
    let labelled = |offsets: &str, out: &str| -> Result<Vec<u8>> {
        let more = [("logit_offsets", offsets)];
        let weights = seeded_weights_with("A", CLASSES.into(), &more)?;
        fs::write(bench.path("weights.safetensors"), weights)?;
        let said = bench.network(&format!("segment one.png --out {out}"))?;
        assert_eq!(said.status, Some(0), "{}", said.err);
        Ok(fs::read(bench.path(out).join("one_labels.png"))?)
    };
    bench.network("segment one.png --out without")?;
    let without = fs::read(bench.path("without/one_labels.png"))?;
    assert_eq!(
        labelled(r#"{"class 0": 0, "class 3": 0.0}"#, "zeros")?,
        without
    );

    let (.., before) = grey_png(&bench.path("without/one_labels.png"))?;
    let pixels = |class: u8| before.iter().filter(|id| **id == class).count();
    let commonest = (0..CLASSES).max_by_key(|class| pixels(*class)).unwrap_or(0);
    labelled(&format!(r#"{{"class {commonest}": -1e3}}"#), "far")?;
    let (.., after) = grey_png(&bench.path("far/one_labels.png"))?;
    assert!(after.iter().all(|id| *id != commonest && *id < CLASSES));
    let others = (before.iter().zip(&after)).filter(|(before, _)| **before != commonest);
    assert!(others.clone().count() > 0);
    assert!(others.into_iter().all(|(before, after)| before == after));
    Ok(())
}

#[test]
fn bad_files_are_reported_and_the_good_ones_are_done() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("good.png", 1)?;
    bench.write_png("last.png", 2)?;
    let png = fs::read(bench.path("good.png"))?;
    fs::write(bench.path("cut.png"), &png[..png.len() / 2])?;
    fs::write(bench.path("text.png"), "no picture")?;
    fs::write(bench.path("bomb.png"), bomb(&png))?;
    let said =
        bench.network("segment good.png cut.png text.png bomb.png gone.png last.png --out out")?;
    assert_eq!(said.status, Some(1), "{}", said.err);
    for part in [
        "cut.png: the compressed image is broken",
        "text.png: the compressed image is neither JPEG nor PNG",
        "bomb.png: 65535x65535 is more than",
        "gone.png: No such file",
        "4 of 6 images failed; 2 masks are in out",
    ] {
        assert!(said.err.contains(part), "{part} in\n{}", said.err);
    }
    let mut files: Vec<_> = fs::read_dir(bench.path("out"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    files.sort();
    let want = [
        "good_labels.png",
        "good_overlay.png",
        "last_labels.png",
        "last_overlay.png",
    ];
    assert_eq!(files, want);
    Ok(())
}

#[test]
fn two_inputs_of_one_name_are_refused_before_either_is_written() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("one.png", 1)?;
    fs::create_dir(bench.path("other"))?;
    bench.write_png("other/one.png", 2)?;
    let said = bench.network("segment one.png other/one.png --out out")?;
    assert_eq!(said.status, Some(1));
    assert!(
        said.err
            .contains("one.png and other/one.png would both write"),
        "{}",
        said.err
    );
    assert!(!bench.path("out").exists());
    Ok(())
}

#[test]
fn wrong_usage_is_exit_status_2() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("one.png", 1)?;
    for arguments in [
        "segment one.png",
        "segment --out out",
        "segment one.png --out out --device tpu",
        "segment one.png --out out --threads 0",
        "segment one.png --out out --network-size 0x5",
        "eval",
        "eval bag --image-topic /image",
        "eval bag --image-topic /image --labels-topic /labels --every 0",
        "eval --list list.txt",
        "bench --size big",
        "nothing",
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let said = bench.ecmnet(&words)?;
        assert_eq!(said.status, Some(2), "{arguments}: {}", said.err);
    }
    Ok(())
}

#[test]
fn a_gpu_that_is_asked_for_and_not_there_is_an_error() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_png("one.png", 1)?;
    let words = "segment one.png --out out --weights weights.safetensors --device cuda:7";
    let said = bench.ecmnet(&words.split(' ').collect::<Vec<_>>())?;
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("use device cpu or auto"), "{}", said.err);
    Ok(())
}

/// Returns the PNG with 65535 x 65535 in its header, whose checksum agrees.
fn bomb(png: &[u8]) -> Vec<u8> {
    let mut bomb = png.to_vec();
    bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let checksum = crc32fast::hash(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    bomb
}
