//! Progress bars, drawn on a terminal alone.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Returns a bar over `steps` steps on standard error, invisible where that is no terminal.
pub(crate) fn bar(steps: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar:.cyan/dim} {pos}/{len}  {per_sec}  {eta} left",
    );
    let bar = ProgressBar::new(steps as u64).with_message(what);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("━╸─")),
        Err(_) => bar,
    }
}

/// Returns a sign of life for work of unknown length.
pub(crate) fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
