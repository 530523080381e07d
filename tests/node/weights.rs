//! Weights for the node under test: the network's own shapes with seeded values.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::seeded::seeded_weights;

/// How many classes they have.
pub(crate) const CLASSES: usize = 11;

/// Writes the weights into a folder and returns the file.
pub(crate) fn made_weights(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("seeded.safetensors");
    if !file.exists() {
        fs::write(&file, seeded_weights("B", CLASSES)?)?;
    }
    Ok(file)
}
