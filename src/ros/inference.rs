//! The one thread that runs the network: takes the newest frame of the camera that has waited longest,
//! publishes its masks, keeps the account.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::area::{Area, AreaFrame, needs_confidence};
use super::cameras::{CameraId, PerCamera};
use super::clock::Age;
use super::error::NodeError;
use super::intake::ImageKind;
use super::lane::Lane;
use super::ledger::Latency;
use super::log::Log;
use super::outputs::{Messages, Outputs, Wanted, image_message};
use super::pace::Pace;
use super::params::Settings;
use super::per_output::PerOutput;
use super::rejection::Rejection;
use super::shared::Shared;
use crate::autoware::{AutowareIds, image_from_mask};
use crate::decode::DecodedImage;
use crate::image::{ImageView, check_size};
use crate::labels::ClassTable;
use crate::msg::{CompressedImage, Header, Image, Message};
use crate::segmenter::{Segmentation, Segmenter};

/// An image message as it came.
#[derive(Debug)]
pub(super) struct Frame {
    /// Whose it is.
    pub camera: CameraId,
    /// The serialised message.
    pub message: Vec<u8>,
    /// Its type.
    pub kind: ImageKind,
    /// Whether its topic says that it is rectified.
    pub is_rectified: bool,
    /// When the node took it from ROS.
    pub received: Instant,
}

/// What the inference thread works by.
#[derive(Clone)]
pub(super) struct Choices {
    /// The network.
    pub segmenter: Arc<Segmenter>,
    /// The parameters' values.
    pub settings: Settings,
    /// Its classes, with the choice of those that a vehicle may drive on.
    pub classes: Arc<ClassTable>,
}

/// The inference thread's own things.
pub(super) struct Inference {
    choices: watch::Receiver<Option<Choices>>,
    shared: Arc<Shared>,
    lanes: PerCamera<Lane>,
    /// The last jump of the clock that is known here.
    jump: Option<Instant>,
    /// Of the topics that are of all cameras; a lane's own paces hold each camera's part in them.
    shared_paces: PerOutput<Pace>,
    area: Area,
    log: Log,
    /// The classes without an id of Autoware's, as the log has them.
    unmapped_told: Vec<String>,
}

/// How long after a jump of the clock images from before it may still be on their way.
const STRAGGLERS: Duration = Duration::from_secs(2);

impl Inference {
    /// Returns the thread's things, before the first frame.
    pub(super) fn new(
        choices: watch::Receiver<Option<Choices>>,
        shared: Arc<Shared>,
        log: &Log,
    ) -> Self {
        Self {
            choices,
            lanes: shared.cameras.map(|camera| Lane::new(camera, log)),
            area: Area::new(&shared.cameras),
            shared,
            jump: None,
            shared_paces: PerOutput::default(),
            log: log.clone(),
            unmapped_told: Vec::new(),
        }
    }

    /// Segments the newest frames until their cell is closed; errs if the GPU is lost.
    pub(super) fn run(mut self) -> Result<(), NodeError> {
        while let Some(frame) = self.shared.frames.take() {
            let Err(rejection) = self.segment(&frame) else {
                continue;
            };
            self.shared.ledgers[frame.camera].reject(rejection.reason);
            if rejection.is_final {
                // A lost GPU may never answer those who would free its memory.
                std::mem::forget(self.choices.borrow().clone());
                let reason = rejection.sentence;
                return Err(NodeError::GpuLost { reason });
            }
            self.lanes[frame.camera].warn_of_image(&rejection);
        }
        Ok(())
    }

    fn segment(&mut self, frame: &Frame) -> Result<(), Rejection> {
        let Some(choices) = self.choices.borrow().clone() else {
            self.shared.frames.count_dropped(frame.camera);
            return Ok(());
        };
        let max_pixels = choices.settings.max_pixels as usize;
        let outputs = self.shared.outputs();
        self.notice_jump();
        match frame.kind {
            ImageKind::Raw => {
                let image = Image::from_cdr(&frame.message)?;
                check_size(image.width as usize, image.height as usize, max_pixels)?;
                let view = image.view()?;
                self.check_age(frame, &image.header, &outputs, &choices.settings)?;
                self.lanes[frame.camera].describe(&image.header, &view, &choices.segmenter);
                let Some(wanted) = self.wanted(frame, &outputs, &choices.settings) else {
                    return Ok(());
                };
                self.publish_masks(frame, &image.header, &view, wanted, &outputs, &choices)
            }
            ImageKind::Compressed => {
                let image = CompressedImage::from_cdr(&frame.message)?;
                self.check_age(frame, &image.header, &outputs, &choices.settings)?;
                let Some(wanted) = self.wanted(frame, &outputs, &choices.settings) else {
                    return Ok(());
                };
                let pixels = DecodedImage::from_file_bytes(image.data, max_pixels)?;
                let view = pixels.view()?;
                self.lanes[frame.camera].describe(&image.header, &view, &choices.segmenter);
                self.publish_masks(frame, &image.header, &view, wanted, &outputs, &choices)
            }
        }
    }

    /// Begins anew where the clock has jumped back.
    fn notice_jump(&mut self) {
        let jump = self.shared.last_jump();
        if jump != self.jump {
            self.jump = jump;
            self.lanes.each_mut().for_each(Lane::begin_anew);
            self.area.reset();
        }
    }

    /// Returns the outputs to be made of this frame; `None`, and the frame is counted, where nobody
    /// reads any, or none that is read is due.
    fn wanted(&mut self, frame: &Frame, outputs: &Outputs, settings: &Settings) -> Option<Wanted> {
        let mut read = outputs.read(frame.camera);
        read.drivable_area |= settings.area.enable;
        let ledger = &self.shared.ledgers[frame.camera];
        if read.is_nothing() {
            ledger.leave();
            return None;
        }
        let wanted = self.lanes[frame.camera].due(read, frame.received, settings);
        if wanted.is_nothing() {
            ledger.limit();
            return None;
        }
        Some(wanted)
    }

    fn check_age(
        &mut self,
        frame: &Frame,
        header: &Header,
        outputs: &Outputs,
        settings: &Settings,
    ) -> Result<(), Rejection> {
        let age = outputs.clock.age(header.stamp);
        let has_jumped = self.jump.is_some_and(|jump| jump.elapsed() < STRAGGLERS);
        self.lanes[frame.camera].check_age(age, has_jumped, settings)
    }

    fn publish_masks(
        &mut self,
        frame: &Frame,
        header: &Header,
        view: &ImageView<'_>,
        wanted: Wanted,
        outputs: &Outputs,
        choices: &Choices,
    ) -> Result<(), Rejection> {
        let with_confidence = wanted.confidence || needs_confidence(wanted, &choices.settings.area);
        let segmentation = choices.segmenter.run(view, with_confidence)?;
        let mut messages = messages(header, view, &segmentation, wanted, choices);
        if wanted.autoware_mask {
            messages.autoware_mask = Some(self.autoware_mask(header, &segmentation, choices)?);
        }
        if !self.publish(frame, &messages, outputs)? {
            return Ok(());
        }
        let latency = Latency::of(
            outputs.clock.age(header.stamp).and_then(Age::ms),
            frame.received.elapsed().as_secs_f64() * 1e3,
            choices.settings.deadline_ms,
        );
        let size = [view.width(), view.height()];
        self.shared.ledgers[frame.camera].segment(latency, size);
        if wanted.has_area() {
            // A frame is taken into what is known of the ground whether or not a message is due.
            let max_rate_hz = &choices.settings.max_rate_hz;
            let due = self.shared_paces.due(wanted, frame.received, max_rate_hz);
            let mut wanted = wanted;
            wanted.hold_shared_to(due);
            let area_frame = AreaFrame {
                camera: frame.camera,
                header,
                image: view,
                is_rectified: frame.is_rectified,
                segmentation: &segmentation,
                wanted,
                choices,
            };
            self.publish_area(frame, &area_frame, outputs)?;
        }
        Ok(())
    }

    /// Returns the mask as Autoware reads it, and warns of classes that it has no id for.
    fn autoware_mask(
        &mut self,
        header: &Header,
        segmentation: &Segmentation,
        choices: &Choices,
    ) -> Result<Vec<u8>, Rejection> {
        let ids = AutowareIds::new(&choices.classes, &choices.settings.autoware_label_ids)
            .map_err(|error| Rejection::of("autoware_label_ids", error))?;
        if self.unmapped_told != ids.unmapped() {
            self.unmapped_told = ids.unmapped().to_vec();
            if !ids.unmapped().is_empty() {
                let names = ids.unmapped().join(", ");
                self.log.warn(&format!(
                    "autoware.label_ids has no id for {names}: in ~/autoware/mask they are 0, unknown"
                ));
            }
        }
        Ok(image_from_mask(header, &segmentation.mask, &ids))
    }

    /// Lays a frame on the ground and publishes that. The masks are published already: what is missing
    /// for the ground is counted and told, and is no fault of the frame.
    fn publish_area(
        &mut self,
        frame: &Frame,
        area_frame: &AreaFrame<'_>,
        outputs: &Outputs,
    ) -> Result<(), Rejection> {
        let start = Instant::now();
        match self.area.messages(area_frame, &self.shared.placement) {
            Ok(messages) => {
                let ms = start.elapsed().as_secs_f64() * 1e3;
                if self.publish(frame, &messages, outputs)? {
                    let pitch_correction_deg = self.area.pitch_correction_deg(frame.camera);
                    self.shared.ledgers[frame.camera].lay(ms, pitch_correction_deg);
                    self.lanes[frame.camera].forget_area_warning();
                }
            }
            Err(rejection) => {
                self.shared.ledgers[frame.camera].stop_area(rejection.reason);
                self.lanes[frame.camera].warn_of_area(&rejection);
            }
        }
        Ok(())
    }

    /// Publishes what a frame gave; returns whether it could still be, and counts it dropped where not.
    fn publish(
        &self,
        frame: &Frame,
        messages: &Messages,
        outputs: &Outputs,
    ) -> Result<bool, Rejection> {
        let publish = || outputs.publish(frame.camera, messages);
        let Some(published) = self.shared.publish(frame.received, publish) else {
            self.shared.frames.count_dropped(frame.camera);
            return Ok(false);
        };
        published.map_err(|error| Rejection::of("publish", error))?;
        Ok(true)
    }
}

/// Returns what the network gave as the images that are wanted.
fn messages(
    header: &Header,
    view: &ImageView<'_>,
    segmentation: &Segmentation,
    wanted: Wanted,
    choices: &Choices,
) -> Messages {
    let mask = &segmentation.mask;
    let size = [mask.width, mask.height];
    let mono = |rows: &[u8]| image_message(header, size, "mono8", rows);
    let drivable = |id: &u8| {
        let may = choices.classes.drivable.get(usize::from(*id));
        if may.copied().unwrap_or(false) {
            255
        } else {
            0
        }
    };
    let overlay = || {
        let alpha = choices.settings.overlay_alpha as f32;
        let rows = choices.segmenter.overlay(view, mask, alpha);
        image_message(header, size, "rgb8", &rows)
    };
    let confidence = segmentation.confidence.as_ref();
    Messages {
        label_mask: wanted.label_mask.then(|| mono(&mask.ids)),
        confidence: (confidence.filter(|_| wanted.confidence))
            .map(|confidence| mono(&confidence.values)),
        drivable_mask: wanted
            .drivable_mask
            .then(|| mono(&mask.ids.iter().map(drivable).collect::<Vec<_>>())),
        overlay: wanted.overlay.then(overlay),
        ..Messages::default()
    }
}
