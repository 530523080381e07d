//! One MCAP chunk: its records, as many of them as its bytes hold.

use std::io::Read;

/// A chunk that claims to unpack to more than this is not unpacked.
const MAX_CHUNK_BYTES: u64 = 1 << 30;

/// The records of a chunk, unpacked.
#[derive(Debug)]
pub(super) struct Chunk {
    records: Vec<u8>,
    /// Why the records end early; `None` where the chunk is whole.
    pub(super) damage: Option<String>,
}

impl Chunk {
    /// Unpacks the body of a chunk record: header, compressed records.
    ///
    /// `whole` says whether the file holds the record's last byte. Records of a whole chunk are
    /// given only if their checksum agrees, those of a cut one as far as they can be unpacked.
    pub(super) fn unpack(body: &[u8], whole: bool) -> Self {
        let damaged = |damage: &str| Self {
            records: Vec::new(),
            damage: Some(damage.to_owned()),
        };
        let Some((header, packed)) = Header::read(body) else {
            return damaged("ends in a chunk's header");
        };
        if header.unpacked_bytes > MAX_CHUNK_BYTES {
            return damaged("claims a chunk of more than 1 GiB");
        }
        let packed_bytes = usize::try_from(header.packed_bytes).unwrap_or(usize::MAX);
        let packed = packed.get(..packed_bytes).unwrap_or(packed);
        let (records, error) = match header.compression {
            "" => unpacked(packed, header.unpacked_bytes),
            "zstd" => match zstd::stream::read::Decoder::new(packed) {
                Ok(decoder) => unpacked(decoder, header.unpacked_bytes),
                Err(error) => (Vec::new(), Some(error)),
            },
            "lz4" => match lz4::Decoder::new(packed) {
                Ok(decoder) => unpacked(decoder, header.unpacked_bytes),
                Err(error) => (Vec::new(), Some(error)),
            },
            other => {
                let other = other.escape_default();
                return damaged(&format!("has a chunk of the unknown compression '{other}'"));
            }
        };
        if !whole {
            let damage = Some("ends in the middle of a chunk".to_owned());
            return Self { records, damage };
        }
        if let Some(error) = error {
            return damaged(&format!("has a chunk that cannot be unpacked ({error})"));
        }
        if records.len() as u64 != header.unpacked_bytes {
            return damaged("has a chunk of another size than it claims");
        }
        if header.crc != 0 && crc32fast::hash(&records) != header.crc {
            return damaged("has a chunk with a wrong checksum");
        }
        Self {
            records,
            damage: None,
        }
    }

    /// Returns records that stand outside a chunk.
    pub(super) fn of_records(records: Vec<u8>) -> Self {
        Self {
            records,
            damage: None,
        }
    }

    /// Returns each whole record: its opcode and its body.
    pub(super) fn records(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.records.as_slice();
        std::iter::from_fn(move || {
            let (&[opcode], after) = rest.split_first_chunk::<1>()?;
            let (len, after) = after.split_first_chunk::<8>()?;
            let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
            let body = after.get(..len)?;
            rest = &after[len..];
            Some((opcode, body))
        })
    }
}

struct Header<'a> {
    unpacked_bytes: u64,
    crc: u32,
    compression: &'a str,
    packed_bytes: u64,
}

impl<'a> Header<'a> {
    /// Reads the header and returns it with the bytes behind it.
    fn read(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (_message_times, rest) = body.split_first_chunk::<16>()?;
        let (unpacked_bytes, rest) = rest.split_first_chunk::<8>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (name_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_bytes) as usize)?;
        let (packed_bytes, rest) = rest.split_first_chunk::<8>()?;
        let header = Self {
            unpacked_bytes: u64::from_le_bytes(*unpacked_bytes),
            crc: u32::from_le_bytes(*crc),
            compression: std::str::from_utf8(name).ok()?,
            packed_bytes: u64::from_le_bytes(*packed_bytes),
        };
        Some((header, rest))
    }
}

/// Reads at most `limit` bytes and returns what came before any error, with the error.
fn unpacked(source: impl Read, limit: u64) -> (Vec<u8>, Option<std::io::Error>) {
    let mut bytes = Vec::new();
    let error = source.take(limit).read_to_end(&mut bytes).err();
    (bytes, error)
}
