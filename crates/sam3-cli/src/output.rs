//! What the user sees: data on stdout, everything else on stderr, progress only on a terminal.

mod pictures;

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::Mutex,
    time::Duration,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sam3_package::Progress;
use serde::{Serialize, Serializer};

pub use self::pictures::Pictures;
use crate::{args::Global, failure};

/// The two streams and how much to say on them.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: u8,
}

impl Output {
    /// As the flags say.
    pub fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// The result: the JSON where it was asked for, else the text.
    pub fn result(&self, json: &impl Serialize, text: &str) -> anyhow::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(json)?
        } else {
            visible(text.trim_end()).into_owned()
        };
        print_line(&text)
    }

    /// One result of several: the JSON on one line where it was asked for, else the text.
    pub fn record(&self, json: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self.json {
            print_line(&serde_json::to_string(json)?)
        } else {
            print_line(&visible(text))
        }
    }

    /// One line of JSON, where JSON was asked for.
    pub fn json_line(&self, line: &str) -> anyhow::Result<()> {
        match self.json {
            true => print_line(line),
            false => Ok(()),
        }
    }

    /// What people read at the end, unless JSON was asked for.
    pub fn text(&self, text: &str) -> anyhow::Result<()> {
        match self.json {
            true => Ok(()),
            false => print_line(&visible(text)),
        }
    }

    /// The JSON of an earlier result on one line, where JSON was asked for.
    pub fn json_file(&self, path: &Path) -> anyhow::Result<()> {
        if !self.json {
            return Ok(());
        }
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let record: serde_json::Value = serde_json::from_slice(&text)?;
        print_line(&serde_json::to_string(&record)?)
    }

    /// A sentence about the work, unless quiet.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            say(&visible(text.as_ref()));
        }
    }

    /// A sentence that only `-v` asks for.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.verbose > 0 {
            say(&visible(text.as_ref()));
        }
    }

    /// Something the user should know though the work goes on.
    pub fn warn(&self, text: impl AsRef<str>) {
        if !self.quiet {
            say(&format!("warning: {}", visible(text.as_ref())));
        }
    }

    /// Says an error and its next step, and returns its exit code.
    pub fn fail(&self, error: &anyhow::Error) -> ExitCode {
        self.complain(error);
        ExitCode::from(failure::exit_code(error))
    }

    /// Says an error that does not end the work.
    pub fn complain(&self, error: &anyhow::Error) {
        say(&format!("error: {}", visible(&chain(error))));
        if let Some(hint) = failure::hint(error) {
            say(&format!("hint: {}", visible(&hint)));
        }
    }

    /// A sign of life on a terminal for work whose length is not known; it ends when it is dropped.
    pub fn spinner(&self, what: &str) -> Spinner {
        let spinner = if !self.quiet && std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is valid");
            ProgressBar::new_spinner()
                .with_style(style)
                .with_message(what.to_owned())
        } else {
            ProgressBar::hidden()
        };
        spinner.enable_steady_tick(Duration::from_millis(100));
        Spinner(spinner)
    }

    /// A bar over `count` pictures on a terminal, else nothing.
    pub fn pictures(&self, count: usize) -> Pictures {
        Pictures::new(count, !self.quiet && std::io::stderr().is_terminal())
    }

    /// A bar on a terminal, else nothing.
    pub fn progress(&self) -> Bar {
        Bar {
            visible: !self.quiet && std::io::stderr().is_terminal(),
            bar: Mutex::new(ProgressBar::hidden()),
        }
    }
}

/// A path for JSON, which has Unicode only.
pub fn plain(path: &Path) -> String {
    path.display().to_string()
}

/// [`plain`], for a field of a record.
pub fn serialize_plain<S: Serializer>(path: impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}

/// The text without control characters but line breaks: a name or a metadata text in a file of somebody's could move
/// the cursor, or worse.
fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() && c != '\n';
    if !text.contains(hidden) {
        return text.into();
    }
    text.chars()
        .map(|c| {
            if hidden(c) {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect::<String>()
        .into()
}

/// The error and its causes, without those that the line above them tells already.
fn chain(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text {
            text if text.is_empty() => cause,
            text if text.ends_with(&cause) => text,
            text => format!("{text}: {cause}"),
        })
}

/// Bytes done, rate and time left of the current stage.
#[derive(Debug)]
pub struct Bar {
    visible: bool,
    bar: Mutex<ProgressBar>,
}

impl Bar {
    fn bar(&self) -> ProgressBar {
        self.bar.lock().expect("no thread panicked").clone()
    }
}

impl Progress for Bar {
    fn stage(&self, what: &str, bytes: u64) {
        self.bar().finish_and_clear();
        if !self.visible {
            return;
        }
        let template = "{msg:>12} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        let style = ProgressStyle::with_template(template)
            .expect("the template is valid")
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr()).with_style(style);
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.bar.lock().expect("no thread panicked") = bar;
    }

    fn advance(&self, bytes: u64) {
        if self.visible {
            self.bar().inc(bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar().finish_and_clear();
    }
}

/// See [`Output::spinner`].
#[derive(Debug)]
pub struct Spinner(ProgressBar);

impl Spinner {
    /// Says what it is at now.
    pub fn say(&self, what: String) {
        self.0.set_message(what);
    }

    /// Lets `print` write while it is out of its way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line on stderr. Where it is closed or full, the exit code still tells; `eprintln!` would panic.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

fn print_line(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
        // `sam3 inspect X | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// `1.55 GB`, in powers of ten as disks are sold.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 || unit == "GB" {
            let digits = if unit == "B" || value >= 99.95 {
                0
            } else if value >= 9.995 {
                1
            } else {
                2
            };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    unreachable!("the last unit takes everything")
}

/// Columns of text: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 => format!("  {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
        out += cells.collect::<String>().trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let cause = std::io::Error::other("no space");
        let error = anyhow::Error::new(sam3_package::Error::Output {
            path: "x".into(),
            source: cause,
        });
        assert_eq!(chain(&error), "cannot write x: no space");
        assert_eq!(chain(&error.context("demo")), "demo: cannot write x: no space");
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_680_000_000, "1.68 GB"),
            (3_450_062_241_000, "3450 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
