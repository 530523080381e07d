//! `vision_msgs/LabelInfo`.

use super::{Header, Message, definition, fields};
use crate::cdr::{CdrError, CdrReader, CdrWriter};

/// A class id and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisionClass {
    /// The value of the class in a label image.
    pub class_id: u16,
    /// The class's name.
    pub class_name: String,
}

/// What the ids of a label image mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelInfo {
    /// Stamp, and the label image's frame.
    pub header: Header,
    /// The classes.
    pub class_map: Vec<VisionClass>,
    /// Confidence below which a pixel should count as unlabelled.
    pub threshold: f32,
}

impl Message<'_> for LabelInfo {
    const TYPE: &'static str = "vision_msgs/msg/LabelInfo";
    const DEFINITION: &'static str = definition!(
        "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
        "std_msgs/Header" => fields!(Header),
        "builtin_interfaces/Time" => fields!(Time),
        "vision_msgs/VisionClass" => "uint16 class_id\nstring class_name",
    );

    fn read(reader: &mut CdrReader<'_>) -> Result<Self, CdrError> {
        let header = Header::read(reader)?;
        let class_map = (0..reader.sequence_len("class_map", 6)?)
            .map(|_| {
                Ok(VisionClass {
                    class_id: reader.u16("class_id")?,
                    class_name: reader.text("class_name")?.to_owned(),
                })
            })
            .collect::<Result<_, CdrError>>()?;
        Ok(Self {
            header,
            class_map,
            threshold: reader.f32("threshold")?,
        })
    }

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.len(self.class_map.len());
        for class in &self.class_map {
            writer.u16(class.class_id);
            writer.text(&class.class_name);
        }
        writer.f32(self.threshold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_info_is_read_back() -> anyhow::Result<()> {
        let class = |class_id, name: &str| VisionClass {
            class_id,
            class_name: name.into(),
        };
        let info = LabelInfo {
            class_map: vec![class(0, "Sky"), class(3, "Road")],
            threshold: 0.25,
            ..Default::default()
        };
        assert_eq!(LabelInfo::from_cdr(&info.to_cdr())?, info);
        Ok(())
    }
}
