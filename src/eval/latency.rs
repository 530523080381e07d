//! Latencies and their percentiles.

use std::path::Path;

use serde::Serialize;

use super::EvalError;

/// The latency of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencySample {
    /// When the frame was taken, nanoseconds since the epoch; its place where it has no stamp.
    pub stamp_ns: i64,
    /// Milliseconds.
    pub latency_ms: f64,
}

/// Percentiles of latencies in milliseconds, each one a latency that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Half of the frames took no longer.
    pub p50: f64,
    /// 95 % of the frames took no longer.
    pub p95: f64,
    /// 99 % of the frames took no longer.
    pub p99: f64,
    /// No frame took longer.
    pub max: f64,
}

impl LatencySummary {
    /// Returns the percentiles (nearest rank) of milliseconds; `None` without any.
    pub fn from_ms(latencies_ms: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = latencies_ms.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            p50: at(0.50)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            max: at(1.0)?,
        })
    }
}

/// Reads live latencies: lines `stamp_ns,latency_ms` behind a header of those words.
///
/// Errs with the file and the line that is not so.
pub fn latencies_from_csv(path: &Path) -> Result<Vec<LatencySample>, EvalError> {
    let text = std::fs::read_to_string(path).map_err(|source| EvalError::file(path, source))?;
    let error = |line: usize, needed: &str| EvalError::Line {
        path: path.to_owned(),
        line: line + 1,
        needed: needed.to_owned(),
    };
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, "stamp_ns,latency_ms")) => {}
        _ => return Err(error(0, "the header 'stamp_ns,latency_ms'")),
    }
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            line.split_once(',')
                .and_then(|(stamp_ns, latency_ms)| {
                    Some(LatencySample {
                        stamp_ns: stamp_ns.trim().parse().ok()?,
                        latency_ms: latency_ms
                            .trim()
                            .parse()
                            .ok()
                            .filter(|ms: &f64| ms.is_finite())?,
                    })
                })
                .ok_or_else(|| error(number, "nanoseconds, a comma and milliseconds"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values_of_the_nearest_rank() {
        let summary = LatencySummary::from_ms((1..=200).rev().map(f64::from));
        let want = LatencySummary {
            p50: 100.0,
            p95: 190.0,
            p99: 198.0,
            max: 200.0,
        };
        assert_eq!(summary, Some(want));
        let one = LatencySummary::from_ms([7.0]);
        assert!(one.is_some_and(|one| one.p50 == 7.0 && one.max == 7.0));
        assert_eq!(LatencySummary::from_ms([]), None);
    }

    #[test]
    fn a_csv_is_read_and_a_wrong_line_is_named() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(&file, "stamp_ns,latency_ms\r\n5,1.5\r\n-6,20\n\n")?;
        let samples = latencies_from_csv(file.path())?;
        assert_eq!(
            (samples.len(), samples[1].stamp_ns, samples[1].latency_ms),
            (2, -6, 20.0)
        );
        for (text, line) in [
            ("5,1.5\n", "line 1"),
            ("stamp_ns,latency_ms\n5,1\n5;2\n", "line 3"),
        ] {
            std::fs::write(&file, text)?;
            let error = latencies_from_csv(file.path())
                .err()
                .map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|text| text.contains(line)),
                "{error:?}"
            );
        }
        Ok(())
    }
}
