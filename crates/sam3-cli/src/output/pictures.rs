//! Progress over many pictures: how many are done, how many a second, how long the rest takes.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sam3_model::Progress;

/// A bar on a terminal, which ends when it is dropped.
#[derive(Debug)]
pub struct Pictures {
    bar: ProgressBar,
    count: usize,
    /// The name of the picture at work.
    name: Mutex<String>,
}

impl Pictures {
    /// For `count` pictures; one alone gets a sign of life instead of a bar.
    pub(super) fn new(count: usize, visible: bool) -> Self {
        if !visible {
            let bar = ProgressBar::hidden();
            return Self::of(bar, count);
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
        Self::of(bar, count)
    }

    fn of(bar: ProgressBar, count: usize) -> Self {
        let name = Mutex::default();
        Self { bar, count, name }
    }

    /// Says which picture is at work.
    pub fn at(&self, path: &Path) {
        let name = match self.count {
            1 => path.display().to_string(),
            _ => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let name = super::visible(&name).into_owned();
        self.bar.set_message(name.clone());
        *self.name() = name;
    }

    /// Says which layer of the model is done.
    pub fn layer(&self, Progress { stage, done, of, .. }: Progress) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{}: {stage} {done}/{of}", self.name()));
        }
    }

    fn name(&self) -> MutexGuard<'_, String> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many more are done.
    pub fn advance(&self, count: usize) {
        self.bar.inc(count as u64);
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
