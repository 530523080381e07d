//! A weights file: tensors in safetensors, with the metadata that says how to use them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::metadata::{MetadataError, WeightsMetadata};

/// Larger files are none of this network's: its 0.87 M parameters take 3.5 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Why a file is not a set of weights for this network.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file's path as the user gave it.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be this network's weights.
    #[error("the weights file has {got} bytes; this network's have at most {limit}")]
    TooLarge {
        /// The largest size that is read.
        limit: u64,
        /// The file's size.
        got: u64,
    },
    /// The file is a Python pickle or a PyTorch archive of one.
    #[error(
        "the weights file is a PyTorch pickle, which is never unpickled since it can run code; \
         export it to safetensors with training/"
    )]
    Pickle,
    /// The file is cut, or no safetensors file.
    #[error("the weights file is not a whole safetensors file: {source}")]
    Safetensors {
        /// What the parser said.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A metadata key is missing or wrong.
    #[error("the weights file's metadata: {0}")]
    Metadata(#[from] MetadataError),
    /// A tensor holds another type than f32.
    #[error("tensor '{name}' holds {got:?}, but F32 is needed")]
    Dtype {
        /// The tensor's name.
        name: String,
        /// The type that it holds.
        got: Dtype,
    },
    /// A tensor has a NaN or an infinity.
    #[error("tensor '{name}' holds NaN or infinity; the training that wrote it has diverged")]
    NotFinite {
        /// The tensor's name.
        name: String,
    },
    /// A batch norm's running variance is negative.
    #[error("tensor '{name}' holds a negative variance; the file is damaged")]
    NegativeVariance {
        /// The tensor's name.
        name: String,
    },
    /// A tensor of the network is not in the file.
    #[error("tensor '{name}' is missing; is the file of another network?")]
    Missing {
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape than the network's.
    #[error("tensor '{name}' has shape {got:?}, but the network has {expected:?} there")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// The file has tensors that the network does not.
    #[error("tensor '{name}' is none of this network's; is the file of another network?")]
    Unknown {
        /// The first such tensor's name.
        name: String,
    },
}

/// The contents of a weights file, checked to be finite.
#[derive(Clone, Debug)]
pub struct Weights {
    metadata: WeightsMetadata,
    sha256: String,
    tensors: BTreeMap<String, Parameter>,
}

/// One tensor of a weights file.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

impl Weights {
    /// Reads and checks the file; errs as [`WeightsError`] says. Pickles are never unpickled.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let read_error = |source| WeightsError::Read {
            path: path.display().to_string(),
            source,
        };
        let got = std::fs::metadata(path).map_err(read_error)?.len();
        if got > MAX_FILE_BYTES {
            return Err(WeightsError::TooLarge {
                limit: MAX_FILE_BYTES,
                got,
            });
        }
        Self::from_bytes(&std::fs::read(path).map_err(read_error)?)
    }

    /// Reads and checks the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        if bytes.starts_with(b"PK\x03\x04") || bytes.first() == Some(&0x80) {
            return Err(WeightsError::Pickle);
        }
        let broken = |source| WeightsError::Safetensors { source };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let strings = header.metadata().clone().unwrap_or_default();
        let metadata = WeightsMetadata::from_strings(&strings)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(bytes).map_err(broken)?.iter() {
            let name = name.to_owned();
            if view.dtype() != Dtype::F32 {
                return Err(WeightsError::Dtype {
                    name,
                    got: view.dtype(),
                });
            }
            let (numbers, _) = view.data().as_chunks::<4>();
            let values: Vec<_> = numbers
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            if values.iter().any(|value| !value.is_finite()) {
                return Err(WeightsError::NotFinite { name });
            }
            tensors.insert(
                name,
                Parameter {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        let sha256 = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            metadata,
            sha256,
            tensors,
        })
    }

    /// Returns what the file says of itself.
    pub fn metadata(&self) -> &WeightsMetadata {
        &self.metadata
    }

    /// Returns the file's SHA-256, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns every tensor with its name, in the order of the names.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.tensors
            .iter()
            .map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// Returns the values of a tensor, row-major; errs if it is missing or of another shape.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<&[f32], WeightsError> {
        let name = || name.to_owned();
        let parameter = self
            .tensors
            .get(&name())
            .ok_or_else(|| WeightsError::Missing { name: name() })?;
        if parameter.shape != shape {
            let (expected, got) = (shape.to_vec(), parameter.shape.clone());
            return Err(WeightsError::Shape {
                name: name(),
                expected,
                got,
            });
        }
        Ok(&parameter.values)
    }

    /// Errs if the file has a tensor that is not in `known`.
    pub fn check_names(&self, known: &BTreeSet<String>) -> Result<(), WeightsError> {
        match self.tensors.keys().find(|name| !known.contains(*name)) {
            Some(name) => Err(WeightsError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::TensorView;

    use super::*;
    use crate::network::metadata::strings_of_two_classes;

    fn file(strings: HashMap<String, String>, values: &[f32]) -> anyhow::Result<Vec<u8>> {
        let bytes: Vec<_> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F32, vec![values.len()], &bytes)?;
        Ok(safetensors::serialize([("a.weight", view)], Some(strings))?)
    }

    #[test]
    fn a_file_is_read_back_and_its_hash_is_of_its_bytes() -> anyhow::Result<()> {
        let bytes = file(strings_of_two_classes(), &[1.0, -2.5])?;
        let weights = Weights::from_bytes(&bytes)?;
        assert_eq!(weights.values("a.weight", &[2])?, [1.0, -2.5]);
        let error = weights
            .values("a.weight", &[1, 2])
            .expect_err("another shape");
        assert!(error.to_string().contains("[1, 2]") && error.to_string().contains("a.weight"));
        assert!(matches!(
            weights.values("b", &[2]),
            Err(WeightsError::Missing { .. })
        ));
        assert!(matches!(
            weights.check_names(&BTreeSet::new()),
            Err(WeightsError::Unknown { name }) if name == "a.weight"
        ));
        assert_eq!(weights.sha256().len(), 64);
        Ok(())
    }

    #[test]
    fn every_cut_of_a_file_is_an_error() -> anyhow::Result<()> {
        let bytes = file(strings_of_two_classes(), &[1.0, -2.5])?;
        for n in 0..bytes.len() {
            assert!(Weights::from_bytes(&bytes[..n]).is_err(), "{n} bytes");
        }
        Ok(())
    }

    #[test]
    fn pickles_nan_and_missing_metadata_are_refused_by_name() -> anyhow::Result<()> {
        for pickle in [b"PK\x03\x04rest".as_slice(), b"\x80\x02}q"] {
            assert!(matches!(
                Weights::from_bytes(pickle),
                Err(WeightsError::Pickle)
            ));
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let error = Weights::from_bytes(&file(strings_of_two_classes(), &[bad])?);
            assert!(matches!(error, Err(WeightsError::NotFinite { name }) if name == "a.weight"));
        }
        let error = Weights::from_bytes(&file(HashMap::new(), &[1.0])?).expect_err("no metadata");
        assert!(error.to_string().contains("'format'"), "{error}");
        Ok(())
    }
}
