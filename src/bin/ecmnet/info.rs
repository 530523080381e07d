//! `ecmnet info`: what a weights file says of itself, and whether it fits the network.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use ecmnet_ros::network::{ECMNet, Weights, WeightsMetadata};

use crate::output::print;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Weights file (safetensors)
    weights: PathBuf,
}

/// Prints the metadata and the classes; errs if the file is not this network's.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let weights = Weights::load(&arguments.weights)?;
    ECMNet::new(&weights, &Device::Cpu)?;
    let metadata = weights.metadata();
    let parameters: usize = weights
        .parameters()
        .map(|(_, tensor)| tensor.values.len())
        .sum();
    let [height, width] = metadata.train_size;
    let facts = [
        ("file", arguments.weights.display().to_string()),
        ("sha256", weights.sha256().to_owned()),
        ("network", format!("ecmnet, plan {}", metadata.plan)),
        (
            "numbers",
            format!("{parameters}, running statistics included"),
        ),
        ("train size", format!("{height}x{width}")),
        (
            "input",
            format!(
                "{}, mean {:?}, std {:?}",
                metadata.colour_order, metadata.mean, metadata.std
            ),
        ),
        ("offsets", offsets_text(metadata)),
        ("temperature", metadata.temperature.to_string()),
        ("dataset", metadata.dataset.clone()),
        ("licence", metadata.licence.clone()),
        ("commit", metadata.commit.clone()),
        ("mIoU", format!("{} on {}", metadata.miou, metadata.miou_on)),
        ("ignore id", metadata.ignore_id.to_string()),
    ];
    let mut text: String = facts
        .iter()
        .map(|(name, value)| format!("{name:12}{value}\n"))
        .collect();
    text += "\n id  class\n";
    let classes = metadata.class_table();
    let colours = std::io::stdout().is_terminal();
    for (id, name) in classes.names.iter().enumerate() {
        let [r, g, b] = classes.palette.get(id).copied().unwrap_or_default();
        let swatch = if colours {
            format!("\x1b[48;2;{r};{g};{b}m    \x1b[0m ")
        } else {
            String::new()
        };
        let drivable = classes.drivable.get(id) == Some(&true);
        let drivable = if drivable { "  (drivable)" } else { "" };
        text += &format!("{id:3}  {swatch}{name}{drivable}\n");
    }
    print(&text)
}

/// Returns the classes whose logits are moved, and by how much.
fn offsets_text(metadata: &WeightsMetadata) -> String {
    let moved: Vec<_> = (metadata.classes.iter().zip(&metadata.logit_offsets))
        .filter(|(_, offset)| **offset != 0.0)
        .map(|(name, offset)| format!("{name} {offset:+}"))
        .collect();
    if moved.is_empty() {
        "none".to_owned()
    } else {
        moved.join(", ")
    }
}
