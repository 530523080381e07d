//! The result of an evaluation as a table for the terminal.

use std::fmt::Write as _;

use super::{Confusion, Summary};

/// Cells of a bar of 1.0.
const BAR_CELLS: usize = 24;
/// Parts of a cell, an eighth to seven eighths.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Returns the table: a line a class with its IoU, a bar and its share of the true pixels, then
/// the totals. Ends with a newline.
pub fn table_from_summary(summary: &Summary, confusion: &Confusion) -> String {
    let name_cells = summary
        .iou
        .iter()
        .map(|(name, _)| name.chars().count())
        .chain(["pixel accuracy".len()])
        .max()
        .unwrap_or_default();
    let truth: Vec<u64> = (0..confusion.classes())
        .map(|class| confusion.row(class).iter().sum())
        .collect();
    let all: u64 = truth.iter().sum();
    let mut table = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        table,
        "{:name_cells$}    IoU  {:BAR_CELLS$}  of the truth",
        "class", ""
    );
    for ((name, iou), pixels) in summary.iou.iter().zip(truth) {
        let share = match all {
            0 => "-".to_owned(),
            all => format!("{:.1} %", 100.0 * pixels as f64 / all as f64),
        };
        let (number, bar) = (fraction(*iou), bar(iou.unwrap_or(0.0)));
        let _ = writeln!(
            table,
            "{name:name_cells$}  {number:>5}  {bar:BAR_CELLS$}  {share:>12}"
        );
    }
    let rows = [
        ("mIoU", fraction(summary.miou)),
        ("pixel accuracy", fraction(summary.pixel_accuracy)),
        ("frames", summary.frames.to_string()),
        ("skipped", skipped(summary)),
        ("latency", latency(summary)),
        ("device", device(summary)),
    ];
    let _ = writeln!(table);
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(table, "{name:name_cells$}  {value}");
    }
    table
}

fn fraction(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (8 * BAR_CELLS) as f64).round() as usize;
    let part = (eighths % 8)
        .checked_sub(1)
        .and_then(|part| EIGHTHS.get(part));
    "█"
        .repeat(eighths / 8)
        .chars()
        .chain(part.copied())
        .collect()
}

fn skipped(summary: &Summary) -> String {
    let reasons = summary.skipped.iter();
    let texts: Vec<String> = reasons
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    texts.join(", ")
}

fn latency(summary: &Summary) -> String {
    summary.latency_ms.map_or_else(String::new, |ms| {
        format!(
            "p50 {:.1}  p95 {:.1}  p99 {:.1}  max {:.1} ms",
            ms.p50, ms.p95, ms.p99, ms.max
        )
    })
}

fn device(summary: &Summary) -> String {
    let size = summary
        .network_size
        .map(|[height, width]| format!("network {height}x{width}"));
    let parts = [summary.device.clone(), summary.dtype.clone(), size];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_by_eighths_of_a_cell() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1.0), "█".repeat(BAR_CELLS));
        assert_eq!(bar(1.5 / BAR_CELLS as f64), "█▌");
        assert_eq!(bar(f64::NAN), "");
    }
}
