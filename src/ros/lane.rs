//! What the inference thread keeps of one camera from frame to frame: when its outputs are due, and
//! what the log has been told of it.

use std::time::Instant;

use super::cameras::CameraName;
use super::clock::Age;
use super::log::Log;
use super::outputs::Wanted;
use super::pace::Pace;
use super::params::Settings;
use super::per_output::PerOutput;
use super::rejection::Rejection;
use crate::image::ImageView;
use crate::msg::Header;
use crate::segmenter::Segmenter;

/// One camera, as the inference thread knows it.
#[derive(Debug)]
pub(super) struct Lane {
    log: Log,
    paces: PerOutput<Pace>,
    foreign_clock_told: bool,
    described: String,
    /// Why there is no drivable area, as the log has it.
    area_told: Option<&'static str>,
}

impl Lane {
    /// Returns the lane of a camera, before its first frame.
    pub(super) fn new(camera: &CameraName, log: &Log) -> Self {
        Self {
            log: log.about(camera),
            paces: PerOutput::default(),
            foreign_clock_told: false,
            described: String::new(),
            area_told: None,
        }
    }

    /// Begins anew where the clock has jumped back: what was told of the old time is told again.
    pub(super) fn begin_anew(&mut self) {
        self.foreign_clock_told = false;
    }

    /// Returns which of the outputs that are `read` are to be made of a frame that came at `received`.
    pub(super) fn due(&mut self, read: Wanted, received: Instant, settings: &Settings) -> Wanted {
        let mut wanted = self.paces.due(read, received, &settings.max_rate_hz);
        wanted.keep_costmap_whole(read);
        wanted
    }

    /// Errs where a frame of this age is too old; `has_jumped` where the clock has, just now.
    pub(super) fn check_age(
        &mut self,
        age: Option<Age>,
        has_jumped: bool,
        settings: &Settings,
    ) -> Result<(), Rejection> {
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

    /// Logs what the images are, when the first comes and when it changes.
    pub(super) fn describe(
        &mut self,
        header: &Header,
        view: &ImageView<'_>,
        segmenter: &Segmenter,
    ) {
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

    /// Warns of an image that gave no mask.
    pub(super) fn warn_of_image(&self, rejection: &Rejection) {
        let Rejection {
            reason, sentence, ..
        } = rejection;
        let sentence = format!("image dropped ({reason}): {sentence}");
        self.log.warn_throttled(reason, &sentence);
    }

    /// Warns that a frame cannot be laid on the ground: once for a fault, however long it lasts.
    pub(super) fn warn_of_area(&mut self, rejection: &Rejection) {
        let Rejection {
            reason, sentence, ..
        } = rejection;
        // Which transform is missing may change.
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

    /// Notes that a frame was laid on the ground.
    pub(super) fn forget_area_warning(&mut self) {
        self.area_told = None;
    }
}
