//! CDR, the encoding of ROS 2 messages in DDS and in bags: a bounds-checked reader that borrows,
//! and a little-endian writer.
//!
//! A serialised message is a 4-byte encapsulation header and the fields in order, each aligned to
//! its own size, counted from the end of that header (OMG DDS-XTypes 1.3, 7.4.3, XCDR version 1).

/// Why bytes are not the message that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdrError {
    /// The encapsulation header names neither plain CDR.
    #[error("the message is not plain CDR (encapsulation {kind:#06x})")]
    Encapsulation {
        /// The first two bytes, big-endian; `0xffff` where there are fewer than four bytes.
        kind: u16,
    },
    /// The message ends inside a field.
    #[error("the message is cut: {field} needs {needed} bytes and {left} are left")]
    Cut {
        /// What was being read.
        field: &'static str,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A string is not NUL-terminated UTF-8.
    #[error("the string {field} is not UTF-8 that ends in NUL")]
    Text {
        /// The string's name.
        field: &'static str,
    },
}

/// Reads fields from a serialised message; everything it returns borrows the message's bytes.
#[derive(Clone, Debug)]
pub struct CdrReader<'a> {
    body: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> CdrReader<'a> {
    /// Returns a reader behind the encapsulation header of `message`; errs if it is not CDR.
    pub fn new(message: &'a [u8]) -> Result<Self, CdrError> {
        let Some((header, body)) = message.split_first_chunk::<4>() else {
            return Err(CdrError::Encapsulation { kind: 0xffff });
        };
        match u16::from_be_bytes([header[0], header[1]]) {
            0 => Ok(Self {
                body,
                at: 0,
                big_endian: true,
            }),
            1 => Ok(Self {
                body,
                at: 0,
                big_endian: false,
            }),
            kind => Err(CdrError::Encapsulation { kind }),
        }
    }

    /// Reads `n` bytes as they are.
    pub fn bytes(&mut self, field: &'static str, n: usize) -> Result<&'a [u8], CdrError> {
        let left = self.body.len().saturating_sub(self.at);
        let cut = CdrError::Cut {
            field,
            needed: n,
            left,
        };
        let bytes = self
            .body
            .get(self.at..)
            .and_then(|rest| rest.get(..n))
            .ok_or(cut)?;
        self.at += n;
        Ok(bytes)
    }

    /// Reads an unsigned byte, or a boolean.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, CdrError> {
        Ok(u8::from_le_bytes(self.number(field)?))
    }

    /// Reads a 16-bit unsigned integer.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, CdrError> {
        Ok(u16::from_le_bytes(self.number(field)?))
    }

    /// Reads a 32-bit unsigned integer.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, CdrError> {
        Ok(u32::from_le_bytes(self.number(field)?))
    }

    /// Reads a 32-bit integer.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, CdrError> {
        Ok(i32::from_le_bytes(self.number(field)?))
    }

    /// Reads a 32-bit float.
    pub fn f32(&mut self, field: &'static str) -> Result<f32, CdrError> {
        Ok(f32::from_le_bytes(self.number(field)?))
    }

    /// Reads a 64-bit float.
    pub fn f64(&mut self, field: &'static str) -> Result<f64, CdrError> {
        Ok(f64::from_le_bytes(self.number(field)?))
    }

    /// Reads `N` 64-bit floats.
    pub fn f64s<const N: usize>(&mut self, field: &'static str) -> Result<[f64; N], CdrError> {
        let mut values = [0.0; N];
        for value in &mut values {
            *value = self.f64(field)?;
        }
        Ok(values)
    }

    /// Reads a string, without its NUL.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, CdrError> {
        let n = self.u32(field)? as usize;
        let bytes = self.bytes(field, n)?;
        // Some writers send an empty string as length zero, without the NUL.
        let bytes = match bytes {
            [] => bytes,
            [text @ .., 0] => text,
            _ => return Err(CdrError::Text { field }),
        };
        std::str::from_utf8(bytes)
            .ok()
            .ok_or(CdrError::Text { field })
    }

    /// Reads a sequence of bytes.
    pub fn byte_sequence(&mut self, field: &'static str) -> Result<&'a [u8], CdrError> {
        let n = self.u32(field)? as usize;
        self.bytes(field, n)
    }

    /// Reads the length of a sequence whose elements take at least `element_bytes` each; errs if
    /// the message cannot hold that many, so that the length is safe to reserve.
    pub fn sequence_len(
        &mut self,
        field: &'static str,
        element_bytes: usize,
    ) -> Result<usize, CdrError> {
        let n = self.u32(field)? as usize;
        let left = self.body.len() - self.at;
        let needed = n.saturating_mul(element_bytes);
        if needed > left {
            Err(CdrError::Cut {
                field,
                needed,
                left,
            })
        } else {
            Ok(n)
        }
    }

    /// Reads the little-endian bytes of a number of `N` bytes, aligned to `N`.
    fn number<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CdrError> {
        let aligned = self.at.next_multiple_of(N);
        let left = self.body.len().saturating_sub(aligned);
        let cut = CdrError::Cut {
            field,
            needed: N,
            left,
        };
        let bytes = self
            .body
            .get(aligned..)
            .and_then(|rest| rest.first_chunk::<N>())
            .ok_or(cut)?;
        self.at = aligned + N;
        let mut bytes = *bytes;
        if self.big_endian {
            bytes.reverse();
        }
        Ok(bytes)
    }
}

/// Writes fields as little-endian CDR with its encapsulation header.
#[derive(Clone, Debug)]
pub struct CdrWriter {
    message: Vec<u8>,
}

impl Default for CdrWriter {
    fn default() -> Self {
        Self::with_capacity(256)
    }
}

impl CdrWriter {
    /// Returns an empty message with room for `bytes` bytes of fields.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut message = Vec::with_capacity(bytes + 4);
        message.extend([0, 1, 0, 0]);
        Self { message }
    }

    /// Returns the finished message, encapsulation header included.
    pub fn into_message(self) -> Vec<u8> {
        self.message
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
    }

    /// Appends an unsigned byte, or a boolean.
    pub fn u8(&mut self, value: u8) {
        self.number(value.to_le_bytes());
    }

    /// Appends a 16-bit unsigned integer.
    pub fn u16(&mut self, value: u16) {
        self.number(value.to_le_bytes());
    }

    /// Appends a 32-bit unsigned integer.
    pub fn u32(&mut self, value: u32) {
        self.number(value.to_le_bytes());
    }

    /// Appends a 32-bit integer.
    pub fn i32(&mut self, value: i32) {
        self.number(value.to_le_bytes());
    }

    /// Appends a 32-bit float.
    pub fn f32(&mut self, value: f32) {
        self.number(value.to_le_bytes());
    }

    /// Appends a 64-bit float.
    pub fn f64(&mut self, value: f64) {
        self.number(value.to_le_bytes());
    }

    /// Appends 64-bit floats one after another.
    pub fn f64s(&mut self, values: &[f64]) {
        for value in values {
            self.f64(*value);
        }
    }

    /// Appends a string with its length and NUL.
    pub fn text(&mut self, text: &str) {
        self.len(text.len() + 1);
        self.bytes(text.as_bytes());
        self.u8(0);
    }

    /// Appends a sequence of bytes with its length.
    pub fn byte_sequence(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.bytes(bytes);
    }

    /// Appends the length of a sequence; its elements follow.
    ///
    /// A length is 32 bits on the wire. Everything that is written here (images up to
    /// `max_pixels`, their names) is far below that.
    pub fn len(&mut self, n: usize) {
        self.u32(n as u32);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        let aligned = 4 + (self.message.len() - 4).next_multiple_of(N);
        self.message.resize(aligned, 0);
        self.message.extend_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_its_alignment() -> Result<(), CdrError> {
        let mut writer = CdrWriter::default();
        writer.u8(7);
        writer.f64(-0.5);
        writer.text("mono8");
        writer.u16(9);
        writer.byte_sequence(&[1, 2, 3]);
        writer.i32(-4);
        let message = writer.into_message();
        assert_eq!(message.len(), 4 + 8 + 8 + 4 + 6 + 2 + 4 + 3 + 1 + 4);
        let mut reader = CdrReader::new(&message)?;
        assert_eq!(reader.u8("a")?, 7);
        assert_eq!(reader.f64("b")?, -0.5);
        assert_eq!(reader.text("c")?, "mono8");
        assert_eq!(reader.u16("d")?, 9);
        assert_eq!(reader.byte_sequence("e")?, [1, 2, 3]);
        assert_eq!(reader.i32("f")?, -4);
        assert!(matches!(
            reader.u8("g"),
            Err(CdrError::Cut {
                field: "g",
                needed: 1,
                left: 0
            })
        ));
        Ok(())
    }

    #[test]
    fn big_endian_messages_are_read() -> Result<(), CdrError> {
        let mut reader = CdrReader::new(&[0, 0, 0, 0, 0, 0, 1, 2, 0x3f, 0x80, 0, 0])?;
        assert_eq!(reader.u32("n")?, 258);
        assert_eq!(reader.f32("x")?, 1.0);
        Ok(())
    }

    #[test]
    fn torn_and_foreign_messages_are_errors() {
        assert!(matches!(
            CdrReader::new(&[0, 1]),
            Err(CdrError::Encapsulation { kind: 0xffff })
        ));
        let xcdr2 = CdrReader::new(&[0, 7, 0, 0, 0]);
        assert!(matches!(xcdr2, Err(CdrError::Encapsulation { kind: 7 })));
        let read = |body: &[u8]| {
            CdrReader::new(&[&[0, 1, 0, 0], body].concat())
                .and_then(|mut reader| reader.text("t").map(str::to_owned))
        };
        assert!(matches!(
            read(&[200, 0, 0, 0, b'x', 0]),
            Err(CdrError::Cut { .. })
        ));
        assert!(matches!(
            read(&[2, 0, 0, 0, b'x', b'y']),
            Err(CdrError::Text { .. })
        ));
        assert!(matches!(
            read(&[2, 0, 0, 0, 0xff, 0]),
            Err(CdrError::Text { .. })
        ));
        assert_eq!(read(&[0, 0, 0, 0]), Ok(String::new()));
    }

    #[test]
    fn a_sequence_longer_than_its_message_is_refused_before_it_is_reserved() {
        let message = [0, 1, 0, 0, 0xff, 0xff, 0xff, 0x7f];
        let len = CdrReader::new(&message).and_then(|mut reader| reader.sequence_len("s", 8));
        assert!(matches!(
            len,
            Err(CdrError::Cut {
                field: "s",
                left: 0,
                ..
            })
        ));
    }
}
