//! Progress over many pictures: how many are done, how many a second, how long the rest takes.

use std::{path::Path, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on a terminal, which ends when it is dropped.
#[derive(Debug)]
pub struct Pictures {
    bar: ProgressBar,
    count: usize,
}

impl Pictures {
    /// For `count` pictures; one alone gets a sign of life instead of a bar.
    pub(super) fn new(count: usize, visible: bool) -> Self {
        if !visible {
            let bar = ProgressBar::hidden();
            return Self { bar, count };
        }
        let template = match count {
            1 => "{spinner} segmenting {msg} {elapsed}",
            _ => "{pos}/{len} images [{wide_bar}] {per_sec} {eta} left  {msg}",
        };
        let style = ProgressStyle::with_template(template)
            .expect("the template is valid")
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, count }
    }

    /// Says which picture is at work.
    pub fn at(&self, path: &Path) {
        let name = match self.count {
            1 => path.display().to_string(),
            _ => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        self.bar.set_message(super::visible(&name).into_owned());
    }

    /// One more is done.
    pub fn advance(&self) {
        self.bar.inc(1);
    }

    /// Lets `print` write while the bar is out of its way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
