//! Log lines to the console and `/rosout`, from any thread, with a throttle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least time between two lines of one throttled subject.
const THROTTLE: Duration = Duration::from_secs(5);

/// Writes a node's log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    name: Arc<str>,
    subjects: Arc<Mutex<HashMap<&'static str, Subject>>>,
}

#[derive(Debug)]
struct Subject {
    last: Instant,
    unsaid: u64,
}

impl Log {
    /// Returns a log under the node's logger name.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            subjects: Arc::default(),
        }
    }

    /// Writes an INFO line.
    pub(super) fn info(&self, text: &str) {
        r2r::log_info!(&self.name, "{}", printable(text));
    }

    /// Writes a WARN line.
    pub(super) fn warn(&self, text: &str) {
        r2r::log_warn!(&self.name, "{}", printable(text));
    }

    /// Writes a WARN line, unless one of the same subject was written within five seconds; the
    /// next one then says how many were left out.
    pub(super) fn warn_throttled(&self, subject: &'static str, text: &str) {
        if let Some(unsaid) = self.admit(subject, Instant::now()) {
            match unsaid {
                0 => self.warn(text),
                _ => self.warn(&format!("{text} (and {unsaid} more of this kind before)")),
            }
        }
    }

    /// Returns the lines left out since the last one, or `None` if this one must be, too.
    fn admit(&self, subject: &'static str, now: Instant) -> Option<u64> {
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        match subjects.get_mut(subject) {
            Some(known) if now.saturating_duration_since(known.last) < THROTTLE => {
                known.unsaid += 1;
                None
            }
            known => {
                let unsaid = known.map_or(0, |known| known.unsaid);
                let last = now;
                subjects.insert(subject, Subject { last, unsaid: 0 });
                Some(unsaid)
            }
        }
    }
}

/// Message data may bring a NUL into a text, on which r2r's logging panics.
fn printable(text: &str) -> String {
    text.replace('\0', "\\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_subject_is_one_line_and_a_count() {
        let log = Log::new("test");
        let start = Instant::now();
        assert_eq!(log.admit("step", start), Some(0));
        for _ in 0..41 {
            assert_eq!(log.admit("step", start + THROTTLE / 2), None);
        }
        assert_eq!(log.admit("cdr", start + THROTTLE / 2), Some(0));
        assert_eq!(log.admit("step", start + THROTTLE), Some(41));
        assert_eq!(log.admit("step", start + 2 * THROTTLE), Some(0));
    }

    #[test]
    fn a_nul_in_message_data_is_made_visible() {
        assert_eq!(printable("rgb8\0x"), "rgb8\\0x");
    }
}
