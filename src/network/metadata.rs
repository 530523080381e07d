//! What a weights file says of itself: how to feed it and what its classes mean.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::DeserializeOwned;

use crate::labels::ClassTable;
use crate::preprocess::InputNormalisation;

/// The metadata format that is read.
const FORMAT: &str = "1";

/// The network that the tensors belong to.
const ARCH: &str = "ecmnet";

/// Most classes that a mask of one byte a pixel can hold, 255 being reserved.
const MAX_CLASSES: usize = 255;

/// Largest magnitude of a logit's offset: beyond any logit, and f32 still tells the sums apart.
const MAX_LOGIT_OFFSET: f32 = 1000.0;

/// A metadata key that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The key is not there.
    #[error("key '{key}' is missing")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// The key's value cannot be used.
    #[error("key '{key}' is '{got}', but {expected} is needed")]
    Wrong {
        /// The key.
        key: &'static str,
        /// What is needed, in words.
        expected: String,
        /// The value, cut to 80 characters.
        got: String,
    },
}

/// Where the network strides: the same tensors serve both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// `ecmnet`: features at 1/4, 1/8 and 1/16 of the input.
    A,
    /// `ecmnet-fast`: features at 1/8, 1/16 and 1/32, a quarter of the arithmetic.
    B,
}

impl Plan {
    /// Returns the strides of the stem's three convolutions.
    pub fn stem_strides(self) -> [usize; 3] {
        match self {
            Self::A => [1, 1, 2],
            Self::B => [2, 1, 2],
        }
    }

    /// Returns the stride from the input to the deepest features.
    pub fn total_stride(self) -> usize {
        8 * self.stem_strides().iter().product::<usize>()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// The order of the input's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

impl fmt::Display for ColourOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
        })
    }
}

/// The metadata of a weights file, checked key by key.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsMetadata {
    /// The stride plan.
    pub plan: Plan,
    /// Class names, by id.
    pub classes: Vec<String>,
    /// Class colours, RGB, by id.
    pub palette: Vec<[u8; 3]>,
    /// The id of unlabelled pixels in ground truth; no class's.
    pub ignore_id: u8,
    /// Names of the classes that a vehicle may drive on.
    pub drivable: Vec<String>,
    /// The order of the input's channels.
    pub colour_order: ColourOrder,
    /// Mean of each input channel, in `colour_order`, on 0-255.
    pub mean: [f32; 3],
    /// Standard deviation of each input channel, in `colour_order`, on 0-255.
    pub std: [f32; 3],
    /// The size trained at, `[height, width]`.
    pub train_size: [usize; 2],
    /// What is added to the logits of each class before they are compared, by id; 0 where the file
    /// names none. The confidence is of the sums, so that it is that of the label that wins.
    pub logit_offsets: Vec<f32>,
    /// What those sums are divided by before softmax; 1 where the file names none.
    pub temperature: f32,
    /// What the weights were trained on.
    pub dataset: String,
    /// Under which terms they may be used.
    pub licence: String,
    /// The commit whose training code made them.
    pub commit: String,
    /// Mean IoU, a fraction.
    pub miou: f64,
    /// What `miou` was measured on.
    pub miou_on: String,
}

impl WeightsMetadata {
    /// Reads the metadata strings of a safetensors file. Unknown keys are ignored; a missing or
    /// wrong one is an error that names it.
    pub fn from_strings(strings: &HashMap<String, String>) -> Result<Self, MetadataError> {
        let keys = Keys(strings);
        keys.one_of("format", &[(FORMAT, ())])?;
        keys.one_of("arch", &[(ARCH, ())])?;
        let classes: Vec<String> = keys.json("classes", "a JSON list of class names")?;
        if classes.is_empty() || classes.len() > MAX_CLASSES {
            return Err(keys.wrong("classes", format!("1 to {MAX_CLASSES} classes")));
        }
        let palette: Vec<[u8; 3]> = keys.json("palette", "a JSON list of [r, g, b], 0 to 255")?;
        if palette.len() != classes.len() {
            return Err(keys.wrong(
                "palette",
                format!("one colour for {} classes", classes.len()),
            ));
        }
        let ignore_id: u8 = keys.json("ignore_id", "a number from 0 to 255")?;
        if usize::from(ignore_id) < classes.len() {
            return Err(keys.wrong("ignore_id", "an id that is no class's".to_owned()));
        }
        let drivable: Vec<String> = keys.json("drivable", "a JSON list of class names")?;
        if drivable.iter().any(|name| !classes.contains(name)) {
            return Err(keys.wrong("drivable", "a list of names from 'classes'".to_owned()));
        }
        let mean: [f32; 3] = keys.json("mean", "a JSON list of three numbers")?;
        let std: [f32; 3] = keys.json("std", "a JSON list of three numbers")?;
        if std.iter().any(|std| *std <= 0.0) {
            return Err(keys.wrong("std", "three numbers above 0".to_owned()));
        }
        let train_size: [usize; 2] = keys.json("train_size", "a JSON list [height, width]")?;
        if train_size.iter().any(|side| !(1..=8192).contains(side)) {
            return Err(keys.wrong("train_size", "two numbers from 1 to 8192".to_owned()));
        }
        let logit_offsets = keys.logit_offsets(&classes)?;
        let temperature = match strings.contains_key("temperature") {
            true => keys.json("temperature", "a number above 0")?,
            false => 1.0,
        };
        if temperature <= 0.0 {
            return Err(keys.wrong("temperature", "a number above 0".to_owned()));
        }
        let miou = keys.json("miou", "a number from 0 to 1")?;
        if !(0.0..=1.0).contains(&miou) {
            return Err(keys.wrong("miou", "a number from 0 to 1".to_owned()));
        }
        Ok(Self {
            plan: keys.one_of("plan", &[("A", Plan::A), ("B", Plan::B)])?,
            classes,
            palette,
            ignore_id,
            drivable,
            colour_order: keys.one_of(
                "colour_order",
                &[("rgb", ColourOrder::Rgb), ("bgr", ColourOrder::Bgr)],
            )?,
            mean,
            std,
            train_size,
            logit_offsets,
            temperature,
            dataset: keys.text("dataset")?.to_owned(),
            licence: keys.text("licence")?.to_owned(),
            commit: keys.text("commit")?.to_owned(),
            miou,
            miou_on: keys.text("miou_on")?.to_owned(),
        })
    }

    /// Returns the classes with their colours and what is drivable.
    pub fn class_table(&self) -> ClassTable {
        ClassTable {
            names: self.classes.clone(),
            palette: self.palette.clone(),
            drivable: self
                .classes
                .iter()
                .map(|name| self.drivable.contains(name))
                .collect(),
            ignore_id: self.ignore_id,
        }
    }

    /// Returns how the network's input is made from RGB.
    pub fn normalisation(&self) -> InputNormalisation {
        let rgb_places = match self.colour_order {
            ColourOrder::Rgb => [0, 1, 2],
            ColourOrder::Bgr => [2, 1, 0],
        };
        InputNormalisation {
            rgb_places,
            mean: self.mean,
            std: self.std,
        }
    }
}

/// The strings, read key by key.
struct Keys<'a>(&'a HashMap<String, String>);

impl<'a> Keys<'a> {
    fn text(&self, key: &'static str) -> Result<&'a str, MetadataError> {
        self.0
            .get(key)
            .map(String::as_str)
            .ok_or(MetadataError::Missing { key })
    }

    fn json<T: DeserializeOwned>(
        &self,
        key: &'static str,
        expected: &str,
    ) -> Result<T, MetadataError> {
        let text = self.text(key)?;
        serde_json::from_str(text)
            .ok()
            .ok_or_else(|| self.wrong(key, expected.to_owned()))
    }

    /// Returns the offset of each of `classes`: 0 where the key or the class is not there.
    fn logit_offsets(&self, classes: &[String]) -> Result<Vec<f32>, MetadataError> {
        const KEY: &str = "logit_offsets";
        if !self.0.contains_key(KEY) {
            return Ok(vec![0.0; classes.len()]);
        }
        let named: BTreeMap<String, f32> =
            self.json(KEY, "a JSON object of class names and numbers")?;
        for (name, offset) in &named {
            if !classes.contains(name) {
                let expected = format!("a name from 'classes' in place of '{name}'");
                return Err(self.wrong(KEY, expected));
            }
            // An f32 beyond its range reads as infinite.
            if offset.abs() > MAX_LOGIT_OFFSET {
                let range = format!("-{MAX_LOGIT_OFFSET} to {MAX_LOGIT_OFFSET}");
                return Err(self.wrong(KEY, format!("a number from {range} for '{name}'")));
            }
        }
        let offset = |name| named.get(name).copied().unwrap_or_default();
        Ok(classes.iter().map(offset).collect())
    }

    fn one_of<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, MetadataError> {
        let text = self.text(key)?;
        let names = || {
            choices
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(" or ")
        };
        (choices.iter().find(|(name, _)| *name == text))
            .map(|(_, value)| *value)
            .ok_or_else(|| self.wrong(key, names()))
    }

    fn wrong(&self, key: &'static str, expected: String) -> MetadataError {
        let got = self
            .0
            .get(key)
            .map(|text| text.chars().take(80).collect())
            .unwrap_or_default();
        MetadataError::Wrong { key, expected, got }
    }
}

/// Metadata of two classes, for tests.
#[cfg(test)]
pub(crate) fn strings_of_two_classes() -> HashMap<String, String> {
    [
        ("format", "1"),
        ("arch", "ecmnet"),
        ("plan", "B"),
        ("classes", r#"["Sky", "Road"]"#),
        ("palette", "[[128,128,128],[128,64,128]]"),
        ("ignore_id", "255"),
        ("drivable", r#"["Road"]"#),
        ("colour_order", "bgr"),
        ("mean", "[1.0, 2.0, 3.0]"),
        ("std", "[4, 5, 6]"),
        ("train_size", "[360, 480]"),
        ("dataset", "made"),
        ("licence", "Apache-2.0"),
        ("commit", "0000000"),
        ("miou", "0.5"),
        ("miou_on", "nothing"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_and_unknown_ones_are_ignored() -> Result<(), MetadataError> {
        let mut strings = strings_of_two_classes();
        strings.insert("colour_of_the_day".to_owned(), "blue".to_owned());
        let metadata = WeightsMetadata::from_strings(&strings)?;
        assert_eq!(metadata.plan.total_stride(), 32);
        assert_eq!(metadata.temperature, 1.0);
        assert_eq!(metadata.class_table().drivable, [false, true]);
        assert_eq!(metadata.normalisation().rgb_places, [2, 1, 0]);
        Ok(())
    }

    #[test]
    fn logit_offsets_go_by_class_name_and_none_are_zeros() -> Result<(), MetadataError> {
        let read = |text: &str| {
            let mut strings = strings_of_two_classes();
            strings.insert("logit_offsets".to_owned(), text.to_owned());
            WeightsMetadata::from_strings(&strings)
        };
        let without = WeightsMetadata::from_strings(&strings_of_two_classes())?;
        assert_eq!(without.logit_offsets, [0.0, 0.0]);
        for zeros in ["{}", r#"{"Road": 0}"#, r#"{"Sky": 0.0, "Road": -0.0}"#] {
            assert_eq!(read(zeros)?, without, "{zeros}");
        }
        assert_eq!(read(r#"{"Road": -0.75}"#)?.logit_offsets, [0.0, -0.75]);
        let bounds = r#"{"Road": 1000, "Sky": -1e3}"#;
        assert_eq!(read(bounds)?.logit_offsets, [-1000.0, 1000.0]);
        Ok(())
    }

    #[test]
    fn a_wrong_logit_offset_is_named_with_its_class() {
        for (value, needed) in [
            (r#"{"Lawn": 1}"#, "a name from 'classes' in place of 'Lawn'"),
            (r#"{"Road": 1e4}"#, "a number from -1000 to 1000 for 'Road'"),
        ] {
            let mut strings = strings_of_two_classes();
            strings.insert("logit_offsets".to_owned(), value.to_owned());
            let error = WeightsMetadata::from_strings(&strings)
                .expect_err(value)
                .to_string();
            assert!(error.contains(needed), "{error}");
        }
    }

    #[test]
    fn every_missing_key_is_named() {
        for key in strings_of_two_classes().keys() {
            let mut strings = strings_of_two_classes();
            strings.remove(key);
            let error = WeightsMetadata::from_strings(&strings).expect_err(key);
            assert!(matches!(error, MetadataError::Missing { key: named } if named == key));
        }
    }

    #[test]
    fn every_wrong_value_is_named_with_what_is_needed() {
        for (key, value) in [
            ("format", "2"),
            ("arch", "unet"),
            ("plan", "C"),
            ("classes", "[]"),
            ("classes", "Sky"),
            ("palette", "[[1,2,3]]"),
            ("palette", "[[1,2,300],[1,2,3]]"),
            ("ignore_id", "1"),
            ("ignore_id", "256"),
            ("drivable", r#"["Lawn"]"#),
            ("colour_order", "hsv"),
            ("mean", "[1, 2]"),
            ("mean", "[1, 2, NaN]"),
            ("std", "[1, 0, 2]"),
            ("train_size", "[0, 480]"),
            ("logit_offsets", "-0.5"),
            ("logit_offsets", r#"["Road", -0.5]"#),
            ("logit_offsets", r#"{"Road": "-0.5"}"#),
            ("logit_offsets", r#"{"Road": -0.5"#),
            ("logit_offsets", r#"{"Road": NaN}"#),
            ("logit_offsets", r#"{"Road": -Infinity}"#),
            ("logit_offsets", r#"{"Road": null}"#),
            ("logit_offsets", r#"{"Road": 1e39}"#),
            ("logit_offsets", r#"{"Road": -1000.5}"#),
            ("logit_offsets", r#"{"Road": -0.5, "road": 0}"#),
            ("temperature", "0"),
            ("miou", "63.5"),
        ] {
            let mut strings = strings_of_two_classes();
            strings.insert(key.to_owned(), value.to_owned());
            let error = WeightsMetadata::from_strings(&strings)
                .expect_err(key)
                .to_string();
            assert!(error.contains(&format!("'{key}' is '{value}'")), "{error}");
        }
    }
}
