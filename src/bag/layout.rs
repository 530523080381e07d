//! Which storage files a bag consists of.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::BagError;

/// How a storage file holds its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    Mcap,
    Sqlite,
}

/// The storage files of a bag, in the order of recording.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) files: Vec<(Storage, PathBuf)>,
    /// Whether each message is a zstd frame (rosbag2's compression mode "message").
    pub(super) zstd_messages: bool,
}

impl Layout {
    /// Finds the storage files of the folder or file at `path`.
    pub(super) fn find(path: &Path) -> Result<Self, BagError> {
        let kind = fs::metadata(path).map_err(|source| BagError::file(path, source))?;
        if !kind.is_dir() {
            return Ok(Self {
                files: vec![(storage_of(path)?, path.to_owned())],
                zstd_messages: false,
            });
        }
        match fs::read_to_string(path.join("metadata.yaml")) {
            Ok(yaml) => Self::from_metadata(path, &yaml),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::from_folder(path),
            Err(error) => Err(BagError::file(&path.join("metadata.yaml"), error)),
        }
    }

    fn from_metadata(folder: &Path, yaml: &str) -> Result<Self, BagError> {
        let path = folder.join("metadata.yaml");
        let document: Document = serde_saphyr::from_str(yaml)
            .map_err(|error| BagError::not_a_bag(&path, first_line(&error.to_string())))?;
        let bag = document.rosbag2_bagfile_information;
        let zstd_messages = match bag.compression_mode.to_lowercase().as_str() {
            "message" if bag.compression_format == "zstd" => true,
            "" | "none" => false,
            "file" => {
                let file = bag.relative_file_paths.first().map(PathBuf::from);
                let path = folder.join(file.unwrap_or_default());
                return Err(BagError::CompressedFile { path });
            }
            mode => {
                let format = &bag.compression_format;
                let why = format!("compression {mode} with {format} is not read");
                return Err(BagError::not_a_bag(&path, why));
            }
        };
        let files = bag
            .relative_file_paths
            .iter()
            .map(|relative| {
                let file = existing_file(folder, Path::new(relative))?;
                Ok((storage_of(&file)?, file))
            })
            .collect::<Result<Vec<_>, BagError>>()?;
        if files.is_empty() {
            return Err(BagError::not_a_bag(&path, "it lists no storage files"));
        }
        Ok(Self {
            files,
            zstd_messages,
        })
    }

    /// A recorder that is killed leaves storage files without `metadata.yaml`.
    fn from_folder(folder: &Path) -> Result<Self, BagError> {
        let error = |source| BagError::file(folder, source);
        let mut paths = fs::read_dir(folder)
            .map_err(error)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(error)?;
        paths.retain(|path| {
            let extension = path.extension().and_then(|text| text.to_str());
            matches!(extension, Some("mcap" | "db3"))
        });
        paths.sort_by_key(|path| (split_number(path), path.clone()));
        if paths.is_empty() {
            let why = "it holds neither metadata.yaml nor a storage file";
            return Err(BagError::not_a_bag(folder, why));
        }
        let files = paths
            .into_iter()
            .map(|path| Ok((storage_of(&path)?, path)))
            .collect::<Result<Vec<_>, BagError>>()?;
        Ok(Self {
            files,
            zstd_messages: false,
        })
    }
}

#[derive(Deserialize)]
struct Document {
    rosbag2_bagfile_information: BagInformation,
}

#[derive(Deserialize)]
struct BagInformation {
    relative_file_paths: Vec<String>,
    #[serde(default)]
    compression_format: String,
    #[serde(default)]
    compression_mode: String,
}

/// Old recorders wrote the bag folder's name into the relative path.
fn existing_file(folder: &Path, relative: &Path) -> Result<PathBuf, BagError> {
    let path = folder.join(relative);
    let flat = folder.join(relative.file_name().unwrap_or_default());
    if path.is_file() {
        Ok(path)
    } else if flat.is_file() {
        Ok(flat)
    } else {
        Err(BagError::MissingFile { path })
    }
}

fn storage_of(file: &Path) -> Result<Storage, BagError> {
    match file.extension().and_then(|text| text.to_str()) {
        Some("mcap") => Ok(Storage::Mcap),
        Some("db3") => Ok(Storage::Sqlite),
        Some("zstd" | "zst") => Err(BagError::CompressedFile {
            path: file.to_owned(),
        }),
        Some("bag") => Err(BagError::not_a_bag(
            file,
            "it looks like a ROS 1 bag; convert it with `rosbags-convert`",
        )),
        _ => Err(BagError::not_a_bag(file, "its name has no known ending")),
    }
}

/// Returns the N of `<name>_<N>.<ending>`, so that file 10 follows file 9.
fn split_number(path: &Path) -> u64 {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| stem.rsplit('_').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
