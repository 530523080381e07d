//! The result of an evaluation as JSON, with the keys that the command line promises.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{LatencySummary, Score};
use crate::labels::ClassTable;

/// Where and with what the network ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// The device in words; `None` where recorded masks were scored.
    pub device: Option<String>,
    /// The number type computed in.
    pub dtype: Option<String>,
    /// The network's `[height, width]`; `None` where it was not run or differed among frames.
    pub network_size: Option<[usize; 2]>,
    /// SHA-256 of the weights file, hexadecimal.
    pub weights_sha256: String,
}

/// The scores of an evaluation; fractions, not percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Frames that were segmented.
    pub frames: u64,
    /// What was left out, by reason.
    #[serde(serialize_with = "as_map")]
    pub skipped: Vec<(String, u64)>,
    /// Mean IoU over the classes in truth or prediction; null without truth.
    pub miou: Option<f64>,
    /// IoU by class, in the order of the ids; null for a class in neither truth nor prediction.
    #[serde(serialize_with = "as_map")]
    pub iou: Vec<(String, Option<f64>)>,
    /// Share of pixels that are right; null without truth.
    pub pixel_accuracy: Option<f64>,
    /// Percentiles of the latency, milliseconds; null without any.
    pub latency_ms: Option<LatencySummary>,
    /// The device in words; null where recorded masks were scored.
    pub device: Option<String>,
    /// The number type computed in; null where recorded masks were scored.
    pub dtype: Option<String>,
    /// The network's `[height, width]`; null where it was not run or differed among frames.
    pub network_size: Option<[usize; 2]>,
    /// SHA-256 of the weights file, hexadecimal.
    pub weights_sha256: String,
}

impl Summary {
    /// Returns the summary of a score.
    pub fn new(score: &Score, classes: &ClassTable, run: &RunFacts) -> Self {
        let run = run.clone();
        Self {
            frames: score.frames,
            skipped: score
                .skipped
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            miou: score.confusion.miou(),
            iou: classes
                .names
                .iter()
                .cloned()
                .zip(score.confusion.iou())
                .collect(),
            pixel_accuracy: score.confusion.pixel_accuracy(),
            latency_ms: LatencySummary::from_ms(score.latencies.iter().map(|one| one.latency_ms)),
            device: run.device,
            dtype: run.dtype,
            network_size: run.network_size,
            weights_sha256: run.weights_sha256,
        }
    }

    /// Returns the summary as indented JSON, a newline at its end.
    pub fn to_json(&self) -> String {
        // Numbers, texts and maps of text keys: nothing in it can fail to be written.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// A map keeps the order of the pairs, which for classes is that of their ids.
fn as_map<S: Serializer, V: Serialize>(
    pairs: &[(String, V)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_promised_keys_and_null_for_an_absent_class() -> anyhow::Result<()> {
        let classes = ClassTable {
            names: vec!["Zebra".into(), "Ape".into()],
            palette: vec![[0; 3]; 2],
            drivable: vec![false; 2],
            ignore_id: 255,
        };
        let mut score = Score::new(&classes);
        score.confusion.add(&[0, 0], &[0, 0])?;
        score.frames = 1;
        score.skip("no_label", 3);
        let json = Summary::new(&score, &classes, &RunFacts::default()).to_json();
        let value: serde_json::Value = serde_json::from_str(&json)?;
        let mut keys: Vec<_> = value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        keys.sort_unstable();
        let mut promised = [
            "frames",
            "skipped",
            "miou",
            "iou",
            "pixel_accuracy",
            "latency_ms",
            "device",
            "dtype",
            "network_size",
            "weights_sha256",
        ];
        promised.sort_unstable();
        assert_eq!(keys, promised);
        assert_eq!(value["skipped"]["no_label"], 3);
        assert_eq!(value["iou"], serde_json::json!({"Zebra": 1.0, "Ape": null}));
        assert!(json.find("Zebra") < json.find("Ape"), "{json}");
        Ok(())
    }
}
