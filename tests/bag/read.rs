//! Bags that other programs wrote (`tests/fixtures/bags/make.py`), whole, cut and damaged.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ecmnet_ros::bag::{Bag, BagError, BagMessage};
use ecmnet_ros::msg::{Image, Message};

const TOPICS: [&str; 2] = ["/camera/image_raw", "/labels"];
const START_NS: i64 = 1_700_000_000_000_000_000;
/// Every way of storing that is read.
const BAGS: [&str; 8] = [
    "mcap_plain",
    "mcap_zstd",
    "mcap_message_zstd",
    "lz4.mcap",
    "zstd_no_summary.mcap",
    "no_chunks.mcap",
    "sqlite3_plain",
    "sqlite3_message_zstd",
];

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures/bags").join(name)
}

/// Returns the images and labels with the number of damages.
fn read(path: &Path) -> Result<(Vec<BagMessage>, usize)> {
    let bag = Bag::open(path)?;
    let mut messages = bag.messages(&TOPICS)?;
    let read = messages.by_ref().collect();
    Ok((read, messages.damage().len()))
}

#[test]
fn every_storage_gives_the_same_messages_in_the_order_of_their_times() -> Result<()> {
    for name in BAGS {
        let (messages, damage) = read(&fixture(name)).context(name)?;
        assert_eq!((messages.len(), damage), (10, 0), "{name}");
        for (i, message) in messages.iter().enumerate() {
            // Labels carry the earlier time, though each was written after its image.
            let (topic, shift_ns) = if i % 2 == 0 { (1, -1_000_000) } else { (0, 0) };
            let stamp_ns = START_NS + (i as i64 / 2) * 66_666_667;
            assert_eq!(
                (message.topic, message.log_time_ns),
                (topic, stamp_ns + shift_ns)
            );
            let image = Image::from_cdr(&message.data)?;
            assert_eq!(image.header.stamp.as_ns(), stamp_ns, "{name}");
            let view = image.view()?;
            assert_eq!((view.width(), view.height()), (16, 12));
            // make.py: 13 x + 7 y + 50 c + frame.
            let want = [[26 + 21 + 50 + (i / 2) as u8, 0][topic], [0, 1][topic]];
            let got = [
                [view.data()[3 * 48 + 7], 0][topic],
                [0, view.data()[5]][topic],
            ];
            assert_eq!(got, want, "{name} message {i}");
        }
    }
    Ok(())
}

#[test]
fn a_missing_topic_is_an_error_that_lists_what_is_there() -> Result<()> {
    for name in BAGS {
        let bag = Bag::open(&fixture(name))?;
        let text = bag
            .messages(&["/nope"])
            .err()
            .context("missing")?
            .to_string();
        for part in ["/nope", "/labels [sensor_msgs/msg/Image]", "/camera/info ["] {
            assert!(text.contains(part), "{name}: {text}");
        }
    }
    Ok(())
}

#[test]
fn what_is_no_bag_is_named_with_the_remedy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let error = |path: &Path| {
        Bag::open(path)
            .err()
            .context("no bag")
            .map(|e| e.to_string())
    };
    assert!(error(folder.path())?.contains("neither metadata.yaml nor"));
    assert!(error(&folder.path().join("gone"))?.contains("gone"));
    assert!(error(&fixture("mcap_file_zstd"))?.contains("zstd -d"));
    let files: [(&str, &[u8], &str); 6] = [
        ("old.bag", b"#ROSBAG V2.0", "rosbags-convert"),
        (
            "text.mcap",
            b"hello, this is text",
            "does not start as MCAP",
        ),
        ("empty.mcap", b"", "does not start as MCAP"),
        (
            "text.db3",
            b"hello, this is text, and longer than a header",
            "sqlite3",
        ),
        ("empty.db3", b"", "no such table"),
        ("image.png", b"", "no known ending"),
    ];
    for (name, bytes, part) in files {
        let path = folder.path().join(name);
        fs::write(&path, bytes)?;
        let text = error(&path)?;
        assert!(text.contains(part), "{text}");
    }
    let yaml = folder.path().join("metadata.yaml");
    fs::write(
        &yaml,
        "rosbag2_bagfile_information:\n  relative_file_paths: [gone_0.mcap]\n",
    )?;
    assert!(matches!(
        Bag::open(folder.path()),
        Err(BagError::MissingFile { .. })
    ));
    fs::write(&yaml, "rosbag2_bagfile_information: {relative_file")?;
    assert!(matches!(
        Bag::open(folder.path()),
        Err(BagError::NotABag { .. })
    ));
    Ok(())
}

#[test]
fn an_mcap_file_cut_anywhere_gives_what_is_before_the_cut_and_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let whole: Vec<BagMessage> = read(&fixture("mcap_plain"))?.0;
    for name in [
        "mcap_plain/mcap_plain.mcap",
        "mcap_zstd/mcap_zstd.mcap",
        "lz4.mcap",
        "no_chunks.mcap",
    ] {
        let bytes = fs::read(fixture(name))?;
        let path = folder.path().join("cut.mcap");
        let mut most = 0;
        // The last 8 bytes are the closing magic, without which nothing is missing.
        for n in (8..bytes.len() - 40).step_by(13) {
            fs::write(&path, &bytes[..n])?;
            let bag = Bag::open(&path).with_context(|| format!("{name} cut at {n}"))?;
            let topics: Vec<&str> = bag
                .topics()
                .iter()
                .map(|topic| topic.name.as_str())
                .collect();
            let there: Vec<&str> = TOPICS
                .into_iter()
                .filter(|name| topics.contains(name))
                .collect();
            let mut messages = bag.messages(&there)?;
            let read: Vec<BagMessage> = messages.by_ref().collect();
            assert_eq!(messages.damage().len(), 1, "{name} cut at {n}");
            assert!(
                read.len() >= most,
                "{name} cut at {n}: {} after {most}",
                read.len()
            );
            most = read.len();
            for message in &read {
                let is_the_same = |want: &&BagMessage| {
                    want.log_time_ns == message.log_time_ns && want.data == message.data
                };
                assert!(
                    whole.iter().any(|want| is_the_same(&want)),
                    "{name} cut at {n}"
                );
            }
        }
        assert_eq!(
            most, 10,
            "{name}: the cuts behind the last message keep all"
        );
    }
    Ok(())
}

#[test]
fn an_uncompressed_chunk_that_is_cut_keeps_its_whole_messages() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bytes = fs::read(fixture("mcap_plain/mcap_plain.mcap"))?;
    let path = folder.path().join("cut.mcap");
    // One chunk holds the whole bag; half of it holds about half of the messages.
    fs::write(&path, &bytes[..bytes.len() / 2])?;
    let (messages, damage) = read(&path)?;
    assert!((3..=6).contains(&messages.len()), "{}", messages.len());
    assert_eq!(damage, 1);
    Ok(())
}

#[test]
fn a_flipped_byte_never_panics_and_never_gives_a_message_that_fails_its_checksum() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("flipped.mcap");
    let good = read(&fixture("lz4.mcap"))?.0;
    for name in [
        "lz4.mcap",
        "zstd_no_summary.mcap",
        "no_chunks.mcap",
        "mcap_plain/mcap_plain.mcap",
    ] {
        let bytes = fs::read(fixture(name))?;
        for at in (8..bytes.len()).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x5a;
            fs::write(&path, &flipped)?;
            // Whether it opens depends on the byte; that it returns is what is claimed.
            let Ok((messages, _)) = read(&path) else {
                continue;
            };
            // Python's mcap stores a checksum for each chunk.
            if name.contains("lz4") || name.contains("zstd") {
                for message in messages {
                    assert!(
                        good.iter().any(|want| want.data == message.data),
                        "{name} at {at}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_cut_sqlite_file_gives_its_first_messages_or_says_what_is_broken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bytes = fs::read(fixture("sqlite3_plain/sqlite3_plain.db3"))?;
    let path = folder.path().join("cut.db3");
    let mut counts = Vec::new();
    for n in (0..bytes.len()).step_by(1024) {
        fs::write(&path, &bytes[..n])?;
        let Ok(bag) = Bag::open(&path) else {
            continue;
        };
        let Ok(mut messages) = bag.messages(&TOPICS) else {
            continue;
        };
        let count = messages.by_ref().count();
        assert!(count == 10 || !messages.damage().is_empty(), "{n} bytes");
        counts.push(count);
    }
    assert!(counts.is_sorted(), "{counts:?}");
    assert!(
        counts.iter().any(|count| (1..10).contains(count)),
        "{counts:?}"
    );
    Ok(())
}

#[test]
fn several_files_are_one_bag_in_order_even_without_metadata() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Eleven files, so that 10 must follow 9; file 10 is of the other storage.
    for i in 0..11 {
        let path = folder.path().join(format!("drive_{i}"));
        if i == 10 {
            fs::copy(
                fixture("sqlite3_plain/sqlite3_plain.db3"),
                path.with_extension("db3"),
            )?;
        } else {
            fs::copy(fixture("lz4.mcap"), path.with_extension("mcap"))?;
        }
    }
    let (messages, damage) = read(folder.path())?;
    assert_eq!((messages.len(), damage), (110, 0));
    assert!(messages.is_sorted_by_key(|message| message.log_time_ns));
    let yaml = "rosbag2_bagfile_information:\n  version: 4\n  storage_identifier: mcap\n  \
                relative_file_paths:\n    - old_name/drive_3.mcap\n    - drive_1.mcap\n";
    fs::write(folder.path().join("metadata.yaml"), yaml)?;
    assert_eq!(read(folder.path())?.0.len(), 20);
    Ok(())
}

#[test]
fn a_chunk_that_claims_terabytes_is_damage() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bomb.mcap");
    let mut bytes = fs::read(fixture("zstd_no_summary.mcap"))?;
    // Opcode 6 follows the header record; its unpacked size is 16 bytes into the body.
    let header_bytes = u64::from_le_bytes(bytes[9..17].try_into()?) as usize;
    let chunk = 8 + 9 + header_bytes;
    assert_eq!(bytes[chunk], 6);
    bytes[chunk + 9 + 16..chunk + 9 + 24].copy_from_slice(&(1_u64 << 42).to_le_bytes());
    fs::write(&path, bytes)?;
    let bag = Bag::open(&path)?;
    let names: Vec<&str> = bag
        .topics()
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    let mut messages = bag.messages(&names)?;
    messages.by_ref().for_each(drop);
    assert!(
        messages
            .damage()
            .iter()
            .any(|d| d.to_string().contains("1 GiB"))
    );
    Ok(())
}
