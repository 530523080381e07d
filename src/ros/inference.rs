//! The one thread that runs the network: takes the newest frame, publishes its masks, keeps the
//! account.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::area::{Area, AreaFrame, needs_confidence};
use super::clock::Age;
use super::error::NodeError;
use super::intake::ImageKind;
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
    log: Log,
    foreign_clock_told: bool,
    /// The last jump of the clock that is known here.
    jump: Option<Instant>,
    paces: PerOutput<Pace>,
    described: String,
    area: Area,
    /// Why there is no drivable area, as the log has it.
    area_told: Option<&'static str>,
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
        log: Log,
    ) -> Self {
        Self {
            choices,
            shared,
            log,
            foreign_clock_told: false,
            jump: None,
            paces: PerOutput::default(),
            described: String::new(),
            area: Area::default(),
            area_told: None,
            unmapped_told: Vec::new(),
        }
    }

    /// Segments the newest frames until their cell is closed; errs if the GPU is lost.
    pub(super) fn run(mut self) -> Result<(), NodeError> {
        while let Some(frame) = self.shared.frames.take() {
            let Err(rejection) = self.segment(&frame) else {
                continue;
            };
            let Rejection {
                reason, sentence, ..
            } = rejection;
            self.shared.ledger.reject(reason);
            if rejection.is_final {
                // A lost GPU may never answer those who would free its memory.
                std::mem::forget(self.choices.borrow().clone());
                return Err(NodeError::GpuLost { reason: sentence });
            }
            let sentence = format!("image dropped ({reason}): {sentence}");
            self.log.warn_throttled(reason, &sentence);
        }
        Ok(())
    }

    fn segment(&mut self, frame: &Frame) -> Result<(), Rejection> {
        let Some(choices) = self.choices.borrow().clone() else {
            self.shared.frames.count_dropped();
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
                self.check_age(&image.header, &outputs, &choices.settings)?;
                self.describe(&image.header, &view, &choices.segmenter);
                let Some(wanted) = self.wanted(frame, &outputs, &choices.settings) else {
                    return Ok(());
                };
                self.publish_masks(frame, &image.header, &view, wanted, &outputs, &choices)
            }
            ImageKind::Compressed => {
                let image = CompressedImage::from_cdr(&frame.message)?;
                self.check_age(&image.header, &outputs, &choices.settings)?;
                let Some(wanted) = self.wanted(frame, &outputs, &choices.settings) else {
                    return Ok(());
                };
                let pixels = DecodedImage::from_file_bytes(image.data, max_pixels)?;
                let view = pixels.view()?;
                self.describe(&image.header, &view, &choices.segmenter);
                self.publish_masks(frame, &image.header, &view, wanted, &outputs, &choices)
            }
        }
    }

    /// Begins anew where the clock has jumped back: what was told of the old time is told again.
    fn notice_jump(&mut self) {
        let jump = self.shared.last_jump();
        if jump != self.jump {
            self.jump = jump;
            self.foreign_clock_told = false;
            self.area.reset();
        }
    }

    /// Returns the outputs to be made of this frame; `None`, and the frame is counted, where nobody
    /// reads any, or none that is read is due.
    fn wanted(&mut self, frame: &Frame, outputs: &Outputs, settings: &Settings) -> Option<Wanted> {
        let mut read = outputs.read();
        read.drivable_area |= settings.area.enable;
        if read.is_nothing() {
            self.shared.ledger.leave();
            return None;
        }
        let mut wanted = read;
        let rates = settings.max_rate_hz.each();
        let paces = self.paces.each_mut();
        for ((wanted, pace), rate) in wanted.each_mut().into_iter().zip(paces).zip(rates) {
            *wanted &= pace.is_due(frame.received, *rate);
            if *wanted {
                pace.advance(frame.received, *rate);
            }
        }
        wanted.keep_costmap_whole(read);
        if wanted.is_nothing() {
            self.shared.ledger.limit();
            return None;
        }
        Some(wanted)
    }

    fn check_age(
        &mut self,
        header: &Header,
        outputs: &Outputs,
        settings: &Settings,
    ) -> Result<(), Rejection> {
        let age = outputs.clock.age(header.stamp);
        let has_jumped = self.jump.is_some_and(|jump| jump.elapsed() < STRAGGLERS);
        if has_jumped && age.is_some_and(|age| age.seconds() < -1.0) {
            let sentence = "its stamp is from before the clock jumped back";
            return Err(Rejection::of("before_jump", sentence));
        }
        match age {
            Some(Age::Known { ms }) if settings.max_age_ms > 0 => {
                let max_age_ms = settings.max_age_ms;
                if ms > max_age_ms as f64 {
                    let sentence = format!(
                        "it is {ms:.0} ms old, and max_age_ms is {max_age_ms}; if it is not, the \
                         camera's clock and this machine's disagree"
                    );
                    return Err(Rejection::of("too_old", sentence));
                }
            }
            Some(Age::Foreign { seconds }) if !self.foreign_clock_told => {
                self.foreign_clock_told = true;
                let side = if seconds > 0.0 { "behind" } else { "ahead of" };
                let seconds = seconds.abs();
                self.log.warn(&format!(
                    "image stamps are {seconds:.0} s {side} the ROS clock, so another clock took \
                     them: age is not checked (a replayed bag wants use_sim_time and --clock)"
                ));
            }
            _ => {}
        }
        Ok(())
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
        self.shared.ledger.segment(latency, size);
        if wanted.has_area() {
            let area_frame = AreaFrame {
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
                    self.shared.ledger.lay(ms);
                    self.area_told = None;
                }
            }
            Err(Rejection {
                reason, sentence, ..
            }) => {
                self.shared.ledger.stop_area(reason);
                // Once for a fault, however long it lasts; which transform is missing may change.
                let fault = if reason.starts_with("tf_") {
                    "tf"
                } else {
                    reason
                };
                if self.area_told.replace(fault) != Some(fault) {
                    let sentence = format!("no drivable area ({reason}): {sentence}");
                    self.log.warn_throttled(fault, &sentence);
                }
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
        let Some(published) = (self.shared).publish(frame.received, || outputs.publish(messages))
        else {
            self.shared.frames.count_dropped();
            return Ok(false);
        };
        published.map_err(|error| Rejection::of("publish", error))?;
        Ok(true)
    }

    /// Logs what the images are, when the first comes and when it changes.
    fn describe(&mut self, header: &Header, view: &ImageView<'_>, segmenter: &Segmenter) {
        let (width, height) = (view.width(), view.height());
        let [rows, columns] = segmenter.network_size_for(height, width);
        let description = format!(
            "images are {width}x{height} {} in frame '{}'; the network sees {columns}x{rows}",
            view.format(),
            header.frame_id,
        );
        if description != self.described {
            self.log.info(&description);
            self.described = description;
        }
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
