//! The page's sections, from the scores at the top to the pictures at the end.

use std::fmt::Write as _;

use super::plot::{latency_plot, tidy};
use super::{Report, ReportFrame};

const STYLE: &str = include_str!("style.css");

/// Returns the whole page.
pub(super) fn html_from_report(report: &Report<'_>) -> String {
    let title = escaped(report.title);
    let notes: String = (report.notes.iter())
        .map(|note| format!("<p>{}</p>", escaped(note)))
        .collect();
    let sections = [
        cards(report),
        section("IoU of each class", &bars(report)),
        section("Where pixels of a class went", &matrix(report)),
        section("Latency", &latency_plot(report.latencies)),
        pictures(report),
        section("Frames", &frames(report)),
        section("This run", &facts(report)),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>{notes}\n{}</body></html>\n",
        sections.concat()
    )
}

fn section(heading: &str, body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else {
        format!("<h2>{heading}</h2>{body}\n")
    }
}

fn cards(report: &Report<'_>) -> String {
    let summary = report.summary;
    let latency = summary.latency_ms;
    let fraction = |value: Option<f64>| value.map(|value| format!("{value:.3}"));
    let skipped: u64 = summary.skipped.iter().map(|(_, count)| count).sum();
    let cards = [
        (fraction(summary.miou), "mIoU"),
        (fraction(summary.pixel_accuracy), "pixel accuracy"),
        (
            latency.map(|ms| format!("{} ms", tidy(ms.p50))),
            "median latency",
        ),
        (
            latency.map(|ms| format!("{} ms", tidy(ms.p95))),
            "95th percentile",
        ),
        (Some(summary.frames.to_string()), "frames"),
        (Some(skipped.to_string()), "skipped"),
    ];
    let cards: String = cards
        .into_iter()
        .filter_map(|(value, name)| Some((value?, name)))
        .map(|(value, name)| format!("<div class=\"card\"><b>{value}</b><span>{name}</span></div>"))
        .collect();
    format!("<div class=\"cards\">{cards}</div>\n")
}

fn bars(report: &Report<'_>) -> String {
    if report.summary.miou.is_none() {
        return String::new();
    }
    let mut rows = String::new();
    for (class, (name, iou)) in report.summary.iou.iter().enumerate() {
        let (number, bar) = match iou {
            Some(iou) => {
                let colour = colour(report, class);
                let width = 100.0 * iou;
                let style = format!("width:{width:.1}%;background:{colour}");
                (
                    format!("{iou:.3}"),
                    format!("<div class=\"bar\" style=\"{style}\"></div>"),
                )
            }
            None => (
                "–".to_owned(),
                "<p>in neither truth nor masks</p>".to_owned(),
            ),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            rows,
            "<tr><td>{}{}</td><td class=\"number\">{number}</td><td class=\"wide\">{bar}</td></tr>",
            swatch(report, class),
            escaped(name)
        );
    }
    format!("<table class=\"bars\">{rows}</table>")
}

fn matrix(report: &Report<'_>) -> String {
    if report.summary.miou.is_none() {
        return String::new();
    }
    let names = || report.classes.names.iter().enumerate();
    let heads: String = names()
        .map(|(_, name)| format!("<th><div>{}</div></th>", escaped(name)))
        .collect();
    let mut rows = String::new();
    for (truth, name) in names() {
        let row = report.confusion.row(truth);
        let all: u64 = row.iter().sum();
        let cells: String = row
            .iter()
            .enumerate()
            .map(|(predicted, pixels)| cell(*pixels, all, truth == predicted))
            .collect();
        let name = format!("{}{}", swatch(report, truth), escaped(name));
        let _ = write!(rows, "<tr><th>{name}</th>{cells}</tr>");
    }
    format!(
        "<p>Each row is a true class; its cells say what share of its pixels was predicted as the \
         class above, in percent.</p><div class=\"scroll\"><table class=\"matrix\"><thead><tr>\
         <th></th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn cell(pixels: u64, all: u64, right: bool) -> String {
    if all == 0 {
        return "<td></td>".to_owned();
    }
    let share = pixels as f64 / all as f64;
    let text = match 100.0 * share {
        percent if percent >= 0.95 => format!("{percent:.0}"),
        percent if percent >= 0.05 => format!("{percent:.1}"),
        _ => String::new(),
    };
    let colour = if right { "31 140 70" } else { "214 69 34" };
    // The square root lets small shares be seen.
    let alpha = 0.85 * share.sqrt();
    format!("<td style=\"background:rgb({colour} / {alpha:.2})\">{text}</td>")
}

fn pictures(report: &Report<'_>) -> String {
    (report.pictures.iter())
        .map(|picture| {
            let heading = escaped(&picture.heading);
            let uri = &picture.uri;
            let image = format!("<img class=\"wide\" alt=\"{heading}\" src=\"{uri}\">");
            section(&heading, &image)
        })
        .collect()
}

fn frames(report: &Report<'_>) -> String {
    if report.frames.is_empty() {
        return String::new();
    }
    let legend: String = (report.classes.names.iter().enumerate())
        .map(|(class, name)| format!("<span>{}{}</span>", swatch(report, class), escaped(name)))
        .collect();
    let figures: String = report.frames.iter().map(figure).collect();
    format!("<div class=\"legend\">{legend}</div>{figures}")
}

fn figure(frame: &ReportFrame) -> String {
    let name = escaped(&frame.name);
    let score = frame
        .miou
        .map(|miou| format!(" · mIoU {miou:.3}"))
        .unwrap_or_default();
    let pictures: String = [
        ("image", Some(&frame.image)),
        ("mask", Some(&frame.mask)),
        ("truth", frame.truth.as_ref()),
    ]
    .into_iter()
    .filter_map(|(what, uri)| Some((what, uri?)))
    .map(|(what, uri)| format!("<label><img alt=\"{what} of {name}\" src=\"{uri}\">{what}</label>"))
    .collect();
    format!(
        "<figure class=\"frame\"><figcaption>{name}{score}</figcaption><div>{pictures}</div></figure>"
    )
}

fn facts(report: &Report<'_>) -> String {
    let summary = report.summary;
    let size = summary
        .network_size
        .map(|[height, width]| format!("{height} x {width} (h x w)"));
    let latency = summary.latency_ms.map(|ms| {
        let [p50, p95, p99, max] = [ms.p50, ms.p95, ms.p99, ms.max].map(tidy);
        format!("p50 {p50}, p95 {p95}, p99 {p99}, max {max} ms")
    });
    let mut rows = vec![
        ("device", summary.device.clone()),
        ("computed in", summary.dtype.clone()),
        ("network size", size),
        ("latency", latency),
        ("weights (SHA-256)", Some(summary.weights_sha256.clone())),
        (
            "program",
            Some(concat!("ecmnet_ros ", env!("CARGO_PKG_VERSION")).to_owned()),
        ),
    ];
    for (reason, count) in &summary.skipped {
        rows.push(("skipped", Some(format!("{count} × {reason}"))));
    }
    let rows: String = rows
        .into_iter()
        .filter_map(|(name, value)| Some((name, escaped(&value?))))
        .map(|(name, value)| format!("<tr><td>{name}</td><td>{value}</td></tr>"))
        .collect();
    format!("<table class=\"facts\">{rows}</table>")
}

fn swatch(report: &Report<'_>, class: usize) -> String {
    format!(
        "<i class=\"swatch\" style=\"background:{}\"></i>",
        colour(report, class)
    )
}

fn colour(report: &Report<'_>, class: usize) -> String {
    let [r, g, b] = report
        .classes
        .palette
        .get(class)
        .copied()
        .unwrap_or_default();
    format!("rgb({r} {g} {b})")
}

/// Topics, files and class names may hold anything.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
