//! `ecmnet eval`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use ecmnet_ros::bag::{Bag, BagWriter, Qos};
use ecmnet_ros::msg::{CompressedImage, Image, Message};

use crate::program::{Bench, CLASSES, PERIOD_NS, SIZE, START_NS, image};

const PIXELS: usize = SIZE[0] * SIZE[1];

/// Stripes of all classes.
fn stripes() -> Vec<u8> {
    (0..PIXELS).map(|i| (i % SIZE[0]) as u8 % CLASSES).collect()
}

fn masks_of(bag: &Path) -> Result<Vec<(i64, String, Vec<u8>)>> {
    let bag = Bag::open(bag)?;
    bag.messages(&["/ecmnet/label_mask"])?
        .map(|message| {
            let image = Image::from_cdr(&message.data)?;
            assert_eq!((image.encoding, image.step as usize), ("mono8", SIZE[0]));
            let stamp_ns = image.header.stamp.as_ns();
            Ok((stamp_ns, image.header.frame_id, image.data.to_vec()))
        })
        .collect()
}

#[test]
fn a_bag_gives_scores_counts_and_masks_that_are_the_same_twice() -> Result<()> {
    let bench = Bench::new()?;
    // Frame 2 has no label.
    bench.write_bag("drive", 5, |frame| {
        (frame != 2).then(|| (0, SIZE, stripes()))
    })?;
    for run in ["first", "again"] {
        let said = bench.network(&format!(
            "eval drive --image-topic /image --labels-topic /labels \
             --json {run}.json --html {run}.html --out-bag {run}"
        ))?;
        assert_eq!(said.status, Some(0), "{}", said.err);
        for part in ["class 10", "mIoU", "4", "1 no_label", "p95"] {
            assert!(said.out.contains(part), "{part} in\n{}", said.out);
        }
    }
    let json = bench.json("first.json")?;
    assert_eq!(
        (&json["frames"], &json["skipped"]),
        (&4.into(), &serde_json::json!({"no_label": 1}))
    );
    assert_eq!(json["network_size"], serde_json::json!([48, 64]));
    assert_eq!(
        json["iou"].as_object().context("classes")?.len(),
        usize::from(CLASSES)
    );
    let miou = json["miou"].as_f64().context("a score")?;
    assert!((0.0..1.0).contains(&miou));
    let again = bench.json("again.json")?;
    for key in ["miou", "iou", "pixel_accuracy", "frames", "weights_sha256"] {
        assert_eq!(json[key], again[key], "{key}");
    }
    let masks = masks_of(&bench.path("first"))?;
    assert_eq!(masks, masks_of(&bench.path("again"))?);
    let stamps: Vec<i64> = masks.iter().map(|(stamp_ns, ..)| *stamp_ns).collect();
    assert_eq!(
        stamps,
        [0, 1, 3, 4].map(|frame| START_NS + frame * PERIOD_NS)
    );
    assert!(
        masks
            .iter()
            .all(|(_, frame_id, _)| frame_id == "camera_optical_frame")
    );
    Ok(())
}

#[test]
fn masks_scored_against_themselves_are_perfect() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_bag("drive", 3, |_| None)?;
    let said = bench.network("eval drive --image-topic /image --out-bag masks --json none.json")?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    let json = bench.json("none.json")?;
    assert!(
        json["miou"].is_null() && json["pixel_accuracy"].is_null(),
        "{json}"
    );
    let masks: Vec<Vec<u8>> = masks_of(&bench.path("masks"))?
        .into_iter()
        .map(|m| m.2)
        .collect();
    bench.write_bag("labelled", 3, |frame| {
        Some((0, SIZE, masks[frame as usize].clone()))
    })?;
    bench.network("eval labelled --image-topic /image --labels-topic /labels --json own.json")?;
    let json = bench.json("own.json")?;
    assert_eq!(
        (&json["miou"], &json["pixel_accuracy"]),
        (&1.0.into(), &1.0.into())
    );
    for (class, iou) in json["iou"].as_object().context("classes")? {
        assert!(iou.is_null() || *iou == 1.0, "{class}: {iou}");
    }
    Ok(())
}

#[test]
fn masks_that_a_node_published_are_scored_without_running_the_network() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_bag("drive", 4, |_| Some((0, SIZE, stripes())))?;
    let mut bag = BagWriter::create(&bench.path("masks"))?;
    let topic = bag.add_topic::<Image<'_>>("/label_mask", Qos::DEFAULT)?;
    // The node dropped frame 1; its last mask is wrong everywhere.
    let mut latency = "stamp_ns,latency_ms\n".to_owned();
    for frame in [0, 2, 3] {
        let ids: Vec<u8> = match frame {
            3 => stripes().iter().map(|id| (id + 1) % CLASSES).collect(),
            _ => stripes(),
        };
        let stamp_ns = START_NS + frame * PERIOD_NS;
        bag.write(topic, 5, &image(stamp_ns, SIZE, "mono8", &ids))?;
        latency += &format!("{stamp_ns},{}\n", 10 * (frame + 1));
    }
    bag.finish()?;
    fs::write(bench.path("latency.csv"), latency)?;
    let words = "eval drive --image-topic /image --labels-topic /labels --masks masks \
                 --latency latency.csv --weights weights.safetensors --json live.json \
                 --html live.html --title <live> --note 4_sent";
    let said = bench.ecmnet(&words.split_whitespace().collect::<Vec<_>>())?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    let json = bench.json("live.json")?;
    assert_eq!(json["skipped"], serde_json::json!({"no_mask": 1}));
    let accuracy = json["pixel_accuracy"].as_f64().context("a score")?;
    assert!((accuracy - 2.0 / 3.0).abs() < 1e-12, "{accuracy}");
    assert_eq!(
        (&json["latency_ms"]["p50"], &json["latency_ms"]["max"]),
        (&30.0.into(), &40.0.into())
    );
    assert!(json["device"].is_null() && json["network_size"].is_null());
    let page = fs::read_to_string(bench.path("live.html"))?;
    assert!(page.contains("<h1>&lt;live&gt;</h1>") && page.contains("<p>4_sent</p>"));
    assert_eq!(page.matches("<circle").count(), 3);
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 9);
    for address in ["http://", "https://", "src=\"/"] {
        assert!(!page.contains(address), "the page needs {address}");
    }
    Ok(())
}

#[test]
fn selection_and_tolerance_choose_the_frames() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_bag("drive", 10, |frame| {
        Some((4_000_000, SIZE, vec![frame as u8; PIXELS]))
    })?;
    let score = |options: &str| {
        let said = bench.network(&format!(
            "eval drive --image-topic /image --labels-topic /labels --json s.json {options}"
        ))?;
        anyhow::Ok((said.status, said.err, bench.json("s.json").ok()))
    };
    let (status, err, _) = score("")?;
    assert_eq!(status, Some(1));
    assert!(err.contains("4.000 ms apart; --tolerance-ms"), "{err}");
    for (options, frames) in [
        ("--tolerance-ms 5", 10),
        ("--tolerance-ms 5 --every 3", 4),
        ("--tolerance-ms 5 --from 0.2 --to 0.34", 3),
        ("--tolerance-ms 5 --from 0.59 --every 5", 1),
    ] {
        let (status, err, json) = score(options)?;
        assert_eq!(status, Some(0), "{options}: {err}");
        let json = json.context("scores")?;
        assert_eq!(
            (&json["frames"], &json["skipped"]),
            (&frames.into(), &serde_json::json!({})),
            "{options}"
        );
    }
    let (status, err, _) = score("--tolerance-ms 3")?;
    assert_eq!((status, err.contains("4.000 ms apart")), (Some(1), true));
    let (_, err, _) = score("--tolerance-ms 5 --from 9")?;
    assert!(err.contains("none of the 10 images"), "{err}");
    Ok(())
}

#[test]
fn wrong_labels_are_errors_that_name_the_frame() -> Result<()> {
    let bench = Bench::new()?;
    let turned = [SIZE[1], SIZE[0]];
    let mut foreign = stripes();
    foreign[77] = 12;
    let cases = [
        (
            "turned",
            turned,
            stripes(),
            "the label is 41x60, but the image is 60x41",
        ),
        (
            "foreign",
            SIZE,
            foreign,
            "holds id 12, which is neither a class (0 to 10) nor ignore_id 255",
        ),
    ];
    for (name, size, ids, part) in cases {
        bench.write_bag(name, 3, |frame| {
            Some(if frame == 1 {
                (0, size, ids.clone())
            } else {
                (0, SIZE, stripes())
            })
        })?;
        let said = bench.network(&format!(
            "eval {name} --image-topic /image --labels-topic /labels --json {name}.json"
        ))?;
        assert_eq!(said.status, Some(1));
        let frame = "frame 1700000000.066666667";
        assert!(
            said.err.contains(frame) && said.err.contains(part),
            "{}",
            said.err
        );
        assert!(!bench.path(&format!("{name}.json")).exists());
    }
    Ok(())
}

#[test]
fn ignored_pixels_do_not_count() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_bag("drive", 1, |_| Some((0, SIZE, vec![255; PIXELS])))?;
    let said =
        bench.network("eval drive --image-topic /image --labels-topic /labels --json i.json")?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    let json = bench.json("i.json")?;
    assert!(json["miou"].is_null(), "{json}");
    Ok(())
}

#[test]
fn a_missing_or_foreign_topic_is_an_error_with_what_is_there() -> Result<()> {
    let bench = Bench::new()?;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bags/mcap_zstd");
    let bag = fixture.to_string_lossy();
    let said = bench.network(&format!(
        "eval {bag} --image-topic /nope --labels-topic /labels"
    ))?;
    assert_eq!(said.status, Some(1));
    assert!(
        said.err
            .contains("/camera/image_raw [sensor_msgs/msg/Image]"),
        "{}",
        said.err
    );
    let said = bench.network(&format!(
        "eval {bag} --image-topic /camera/info --labels-topic /labels"
    ))?;
    assert_eq!(said.status, Some(1));
    assert!(
        said.err.contains("sensor_msgs/msg/CameraInfo, but images"),
        "{}",
        said.err
    );
    Ok(())
}

#[test]
fn a_cut_bag_is_scored_as_far_as_it_goes_and_ends_with_status_1() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_bag("drive", 120, |_| Some((0, SIZE, stripes())))?;
    let bytes = fs::read(bench.path("drive/drive_0.mcap"))?;
    fs::write(bench.path("cut.mcap"), &bytes[..bytes.len() * 2 / 3])?;
    let said = bench.network(
        "eval cut.mcap --image-topic /image --labels-topic /labels --every 10 --json cut.json",
    )?;
    assert_eq!(said.status, Some(1));
    assert!(
        said.err
            .contains("warning: cut.mcap is cut in the middle of"),
        "{}",
        said.err
    );
    let json = bench.json("cut.json")?;
    assert_eq!(json["skipped"]["damaged_bag"], 1);
    let frames = json["frames"].as_u64().context("frames")?;
    assert!((3..12).contains(&frames), "{frames}");
    Ok(())
}

#[test]
fn broken_images_are_skipped_by_reason() -> Result<()> {
    let bench = Bench::new()?;
    let mut bag = BagWriter::create(&bench.path("drive"))?;
    let images = bag.add_topic::<Image<'_>>("/image", Qos::DEFAULT)?;
    let pixels = vec![7; 3 * PIXELS];
    for frame in 0..5 {
        let stamp_ns = START_NS + frame * PERIOD_NS;
        let good = image(stamp_ns, SIZE, "rgb8", &pixels);
        let bad = match frame {
            1 => Image {
                data: &pixels[..9],
                ..good
            },
            2 => Image {
                encoding: "32FC1",
                ..good
            },
            3 => Image {
                header: image(START_NS, SIZE, "rgb8", &pixels).header,
                ..good
            },
            _ => good,
        };
        bag.write(images, stamp_ns, &bad)?;
    }
    bag.write_cdr(images, START_NS + 9 * PERIOD_NS, &[0, 1, 0, 0, 5])?;
    bag.finish()?;
    let said = bench.network("eval drive --image-topic /image --out-bag masks --json s.json")?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    let json = bench.json("s.json")?;
    let skipped = serde_json::json!(
        {"short_data": 1, "encoding": 1, "duplicate_stamp": 1, "torn_message": 1}
    );
    assert_eq!((&json["frames"], &json["skipped"]), (&2.into(), &skipped));
    Ok(())
}

#[test]
fn compressed_images_and_png_labels_score_like_raw_ones() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_bag("raw", 2, |_| Some((0, SIZE, stripes())))?;
    let mut bag = BagWriter::create(&bench.path("compressed"))?;
    let images = bag.add_topic::<CompressedImage<'_>>("/image", Qos::DEFAULT)?;
    let labels = bag.add_topic::<CompressedImage<'_>>("/labels", Qos::DEFAULT)?;
    let [width, height] = SIZE.map(|side| side as u32);
    let truth = image::GrayImage::from_raw(width, height, stripes()).context("a label")?;
    truth.save(bench.path("truth.png"))?;
    let truth = fs::read(bench.path("truth.png"))?;
    for frame in 0..3 {
        bench.write_png("image.png", frame)?;
        let mut file = fs::read(bench.path("image.png"))?;
        if frame == 2 {
            file.truncate(200);
        }
        let stamp_ns = START_NS + frame as i64 * PERIOD_NS;
        let compressed = |data| CompressedImage {
            header: image(stamp_ns, SIZE, "rgb8", &[]).header,
            format: "png",
            data,
        };
        bag.write(images, stamp_ns, &compressed(&file))?;
        bag.write(labels, stamp_ns, &compressed(&truth))?;
    }
    bag.finish()?;
    for bag in ["raw", "compressed"] {
        let said = bench.network(&format!(
            "eval {bag} --image-topic /image --labels-topic /labels --json {bag}.json"
        ))?;
        assert_eq!(said.status, Some(0), "{}", said.err);
    }
    let [raw, compressed] = [bench.json("raw.json")?, bench.json("compressed.json")?];
    for key in ["frames", "miou", "iou", "pixel_accuracy"] {
        assert_eq!(raw[key], compressed[key], "{key}");
    }
    assert_eq!(compressed["skipped"], serde_json::json!({"broken_file": 1}));
    Ok(())
}

#[test]
fn a_list_of_files_is_scored_like_a_bag() -> Result<()> {
    let bench = Bench::new()?;
    let [width, height] = SIZE.map(|side| side as u32);
    for frame in 0..3 {
        bench.write_png(&format!("{frame}.png"), frame)?;
        let label = image::GrayImage::from_raw(width, height, stripes()).context("a label")?;
        label.save(bench.path(&format!("{frame}_truth.png")))?;
    }
    bench.write_bag("drive", 3, |_| Some((0, SIZE, stripes())))?;
    fs::write(
        bench.path("list.txt"),
        "0.png 0_truth.png\n1.png 1_truth.png\n\n2.png 2_truth.png\n",
    )?;
    bench.network("eval --list list.txt --root . --json list.json")?;
    bench.network("eval drive --image-topic /image --labels-topic /labels --json bag.json")?;
    let [list, bag] = [bench.json("list.json")?, bench.json("bag.json")?];
    for key in ["frames", "miou", "iou", "pixel_accuracy", "skipped"] {
        assert_eq!(list[key], bag[key], "{key}");
    }
    fs::write(bench.path("list.txt"), "0.png 0_truth.png\n1.png\n")?;
    let said = bench.network("eval --list list.txt --root .")?;
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("list.txt, line 2"), "{}", said.err);
    Ok(())
}

#[test]
fn an_existing_out_bag_is_never_overwritten() -> Result<()> {
    let bench = Bench::new()?;
    bench.write_bag("drive", 1, |_| None)?;
    let before = fs::read(bench.path("drive/drive_0.mcap"))?;
    let said = bench.network("eval drive --image-topic /image --out-bag drive")?;
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("exists already"), "{}", said.err);
    assert_eq!(before, fs::read(bench.path("drive/drive_0.mcap"))?);
    Ok(())
}

#[test]
fn a_picture_from_elsewhere_is_on_the_page_and_no_picture_is_an_error_before_the_run() -> Result<()>
{
    let bench = Bench::new()?;
    bench.write_bag("drive", 1, |_| Some((0, SIZE, stripes())))?;
    bench.write_png("map.png", 0)?;
    let eval = "eval drive --image-topic /image --labels-topic /labels --html page.html --picture";
    let said = bench.network(&format!("{eval} A<map>=map.png"))?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    let page = fs::read_to_string(bench.path("page.html"))?;
    for part in [
        "<h2>A&lt;map&gt;</h2>",
        "src=\"data:image/png;base64,iVBORw0KGgo",
    ] {
        assert!(page.contains(part), "{part}");
    }
    fs::write(bench.path("map.txt"), "no picture")?;
    for (picture, reason) in [
        ("Map=map.txt", "map.txt is neither PNG nor JPEG"),
        ("Map=gone.png", "gone.png: No such file"),
        ("map.png", "HEADING=FILE is needed"),
    ] {
        let said = bench.network(&format!("{eval} {picture}"))?;
        assert_eq!(said.status, Some(2));
        assert!(said.err.contains(reason), "{}", said.err);
    }
    Ok(())
}
