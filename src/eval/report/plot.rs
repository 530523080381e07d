//! Drawings of the report, as SVG that takes its colours from the page's styles.

use std::fmt::Write as _;

use crate::eval::{LatencySample, LatencySummary};

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

/// Returns a plot of latency over time with lines at the median and the 95th percentile; empty
/// without samples.
pub(super) fn latency_plot(samples: &[LatencySample]) -> String {
    let Some(summary) = LatencySummary::from_ms(samples.iter().map(|one| one.latency_ms)) else {
        return String::new();
    };
    let start_ns = samples
        .iter()
        .map(|one| one.stamp_ns)
        .min()
        .unwrap_or_default();
    let end_ns = samples
        .iter()
        .map(|one| one.stamp_ns)
        .max()
        .unwrap_or_default();
    let seconds = (end_ns.saturating_sub(start_ns)) as f64 / 1e9;
    let step_ms = round_step(summary.max / 4.0);
    let top_ms = step_ms * (summary.max / step_ms).ceil().max(1.0);
    let x_of = |stamp_ns: i64| {
        let share = (stamp_ns.saturating_sub(start_ns)) as f64 / 1e9 / seconds.max(1e-9);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    };
    let y_of = |ms: f64| HEIGHT - BOTTOM - ms / top_ms * (HEIGHT - TOP - BOTTOM);
    let right = WIDTH - RIGHT;
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Latency of each frame\">"
    );
    // Writing to a String cannot fail.
    let mut ms = 0.0;
    while ms <= top_ms * 1.001 {
        let y = y_of(ms);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} ms</text>",
            LEFT - 8.0,
            y + 4.0,
            tidy(ms)
        );
        ms += step_ms;
    }
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let x = LEFT + share * (WIDTH - LEFT - RIGHT);
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} s</text>",
            HEIGHT - 8.0,
            share * seconds
        );
    }
    for sample in samples {
        let (x, y) = (
            x_of(sample.stamp_ns),
            y_of(sample.latency_ms.clamp(0.0, top_ms)),
        );
        let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>");
    }
    // Labels of percentiles that lie close together would cover one another.
    let p95_y = y_of(summary.p95).min(y_of(summary.p50) - 14.0);
    for (name, ms, label_y) in [
        ("p50", summary.p50, y_of(summary.p50)),
        ("p95", summary.p95, p95_y),
    ] {
        let y = y_of(ms);
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\">{name} {}</text>",
            right + 6.0,
            label_y + 4.0,
            tidy(ms)
        );
    }
    svg + "</svg>"
}

/// Returns the least of 1, 2, 5 times a power of ten that is not below `value`.
fn round_step(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= value)
        .unwrap_or(power)
}

/// Milliseconds with as many decimals as they are worth.
pub(super) fn tidy(ms: f64) -> String {
    if ms >= 100.0 || ms.fract() == 0.0 {
        format!("{ms:.0}")
    } else if ms >= 1.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_never_too_small() {
        for (value, step) in [
            (0.9, 1.0),
            (1.1, 2.0),
            (21.0, 50.0),
            (60.0, 100.0),
            (0.03, 0.05),
        ] {
            assert!((round_step(value) - step).abs() < 1e-9, "{value}");
        }
        assert!(round_step(0.0) > 0.0);
    }

    #[test]
    fn every_sample_is_a_dot_even_when_all_share_a_stamp() {
        let sample = |stamp_ns, latency_ms| LatencySample {
            stamp_ns,
            latency_ms,
        };
        let svg = latency_plot(&[sample(5, 3.0), sample(5, 9.0)]);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(latency_plot(&[]), "");
    }
}
