//! Frames that another program decodes.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufRead, BufReader, PipeReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Signal, set_parent_process_death_signal},
};

use crate::{
    Format, Frames, Program, Rate, Uri, VideoError, Wanted, Y4m,
    decoder::{self, choose},
    raw::{check_size, read_whole},
    yuv::{Layout, Range},
};

/// How long a program that closed its output may take to end.
const TO_END: Duration = Duration::from_secs(2);
/// A size is told before the frames that have it, through another pipe.
const TO_TELL: Duration = Duration::from_millis(20);
/// Of a program's last words, so many lines are kept.
const LINES: usize = 3;
const LONGEST_LINE: usize = 300;
const BUFFER: usize = 1 << 18;

/// Ends a program from another thread than the one that reads from it.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Running(Child),
    Off,
}

impl Switch {
    /// Ends the program; one that is started later ends at once.
    pub fn turn_off(&self) {
        if let State::Running(mut child) = std::mem::replace(&mut *self.lock(), State::Off) {
            end(&mut child);
        }
    }

    fn start(&self, command: &mut Command) -> io::Result<Pipes> {
        let mut state = self.lock();
        if matches!(*state, State::Off) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut child = command.spawn()?;
        let pipes = Pipes {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().expect("it is piped"),
            stderr: child.stderr.take().expect("it is piped"),
        };
        *state = State::Running(child);
        Ok(pipes)
    }

    /// How a program ended that has closed its output; it has to, soon. None where it was turned off.
    fn wait(&self) -> Option<ExitStatus> {
        let State::Running(mut child) = std::mem::take(&mut *self.lock()) else {
            return None;
        };
        let last = Instant::now() + TO_END;
        while Instant::now() < last {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        end(&mut child);
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the program end with the thread that starts it. Ctrl-C on a terminal is for us, who then end it.
pub(crate) fn ends_with_us(command: &mut Command) {
    command.process_group(0);
    // SAFETY: one system call, between fork and exec, which allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

fn end(child: &mut Child) {
    // One that has ended by itself is reaped all the same.
    let _ = child.kill();
    let _ = child.wait();
}

struct Pipes {
    stdin: Option<std::process::ChildStdin>,
    stdout: ChildStdout,
    stderr: std::process::ChildStderr,
}

/// The frames of a source that ffmpeg or GStreamer decodes. The program ends with this, and with the thread that opened it.
pub struct Decoded {
    program: Program,
    pipe: Pipe,
    words: LastWords,
    switch: Switch,
}

enum Pipe {
    Y4m(Y4m<BufReader<ChildStdout>>),
    I420(I420),
}

impl Decoded {
    /// Starts the program, and waits for the first frame's size.
    ///
    /// # Errors
    /// When no program is here for it, or what it said instead.
    pub fn open(uri: &Uri, wanted: &Wanted, switch: &Switch) -> Result<Self, VideoError> {
        let (program, path) = choose(uri, wanted.decoder)?;
        let (mut command, stdin) = match program {
            Program::Ffmpeg => decoder::ffmpeg(&path, uri, wanted),
            Program::Gstreamer => (decoder::gstreamer(&path, uri, wanted), None),
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        ends_with_us(&mut command);
        let mut frames = None;
        match (program, &stdin) {
            (Program::Gstreamer, _) => {
                // Its stdout is for messages.
                let (reader, writer) = io::pipe()?;
                command.stdin(writer);
                frames = Some(reader);
            }
            (_, Some(_)) => {
                command.stdin(Stdio::piped());
            }
            (_, None) => {
                command.stdin(Stdio::null());
            }
        }
        let pipes = switch.start(&mut command)?;
        // Its end of the pipe is its own now.
        drop(command);
        let words = LastWords::of(pipes.stderr, uri)?;
        if let (Some(mut pipe), Some(text)) = (pipes.stdin, stdin) {
            // One that does not read it tells why.
            let _ = pipe.write_all(text.as_bytes());
        }
        let mut decoded = match frames {
            None => {
                let reader = BufReader::with_capacity(BUFFER, pipes.stdout);
                let opened = Y4m::open(reader);
                match opened {
                    Ok(frames) => Self {
                        program,
                        pipe: Pipe::Y4m(frames),
                        words,
                        switch: switch.clone(),
                    },
                    Err(error) => {
                        return Err(ended(program, words, switch).unwrap_or(error));
                    }
                }
            }
            Some(reader) => Self {
                program,
                pipe: Pipe::I420(I420::new(reader, pipes.stdout)?),
                words,
                switch: switch.clone(),
            },
        };
        if let Pipe::I420(frames) = &mut decoded.pipe
            && !frames.begin()?
        {
            let none = || VideoError::Header("expected frames, found none".to_owned());
            let words = std::mem::take(&mut decoded.words);
            return Err(ended(program, words, switch).unwrap_or_else(none));
        }
        Ok(decoded)
    }
}

/// The error of a program that failed; none where it ended well.
fn ended(program: Program, words: LastWords, switch: &Switch) -> Option<VideoError> {
    let status = switch.wait();
    let words = words.read();
    let is_well = status.is_some_and(|status| status.success());
    if is_well && words.is_empty() {
        return None;
    }
    let reason = match (words.is_empty(), status) {
        (false, _) => words,
        (true, Some(status)) => status.to_string(),
        (true, None) => "it did not end by itself".to_owned(),
    };
    Some(VideoError::Decoder { program, reason })
}

impl Frames for Decoded {
    fn format(&self) -> Format {
        match &self.pipe {
            Pipe::Y4m(frames) => frames.format(),
            Pipe::I420(frames) => frames.format(),
        }
    }

    fn rate(&self) -> Option<Rate> {
        match &self.pipe {
            Pipe::Y4m(frames) => frames.rate(),
            Pipe::I420(frames) => frames.rate,
        }
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        let read = match &mut self.pipe {
            Pipe::Y4m(frames) => frames.read(bytes),
            Pipe::I420(frames) => frames.read(bytes),
        };
        match read {
            Ok(true) => Ok(true),
            // It goes on, with frames of another size.
            Err(error @ VideoError::Resized(..)) => Err(error),
            // What it said tells more than that its frames end.
            end => match ended(self.program, std::mem::take(&mut self.words), &self.switch) {
                Some(error) => Err(error),
                None => end,
            },
        }
    }
}

impl Drop for Decoded {
    fn drop(&mut self) {
        self.switch.turn_off();
    }
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoded")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// What a program says on stderr, its end alone.
#[derive(Debug, Default)]
pub(crate) struct LastWords(Option<JoinHandle<VecDeque<String>>>);

impl LastWords {
    pub(crate) fn of(stderr: impl Read + Send + 'static, uri: &Uri) -> io::Result<Self> {
        // Programs repeat what they were given.
        let (secret, shown) = match uri {
            Uri::Server(uri_text) => (uri_text.clone(), uri.to_string()),
            _ => (String::new(), String::new()),
        };
        let read = move || {
            let mut lines = VecDeque::new();
            let mut reader = BufReader::new(stderr);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let mut text = String::from_utf8_lossy(&line).trim().to_owned();
                if !secret.is_empty() {
                    text = text.replace(&secret, &shown);
                }
                line.clear();
                if !text.is_empty() && !text.starts_with("Additional debug info") {
                    lines.push_back(text.chars().take(LONGEST_LINE).collect());
                }
                if lines.len() > LINES {
                    lines.pop_front();
                }
            }
            lines
        };
        Ok(Self(Some(
            thread::Builder::new().name("decoder".to_owned()).spawn(read)?,
        )))
    }

    /// All of it, once the program has ended.
    pub(crate) fn read(self) -> String {
        let lines = self.0.and_then(|reader| reader.join().ok()).unwrap_or_default();
        Vec::from(lines).join("; ")
    }
}

/// GStreamer's raw frames, whose rows end on four bytes.
struct I420 {
    frames: PipeReader,
    /// Sizes, as GStreamer tells them before the frames that have them.
    sizes: Receiver<Size>,
    size: Size,
    rate: Option<Rate>,
    padded: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
    rate: (u64, u64),
}

impl I420 {
    fn new(frames: PipeReader, messages: ChildStdout) -> io::Result<Self> {
        let (sender, sizes) = mpsc::channel();
        thread::Builder::new().name("messages".to_owned()).spawn(move || {
            for line in BufReader::new(messages).split(b'\n') {
                let Ok(line) = line else { break };
                if let Some(size) = Size::of(&String::from_utf8_lossy(&line)) {
                    let _ = sender.send(size);
                }
            }
        })?;
        Ok(Self {
            frames,
            sizes,
            size: Size::default(),
            rate: None,
            padded: Vec::new(),
        })
    }

    /// Waits for the first frame's size; false where the program ends without one.
    fn begin(&mut self) -> Result<bool, VideoError> {
        let Ok(mut size) = self.sizes.recv() else {
            return Ok(false);
        };
        // A video that is turned upright has two sizes before its first frame, of which the last is right.
        loop {
            match poll(&mut [PollFd::new(&self.frames, PollFlags::IN)], None) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(_) => break,
            }
        }
        while let Ok(last) = self.sizes.recv_timeout(TO_TELL) {
            size = last;
        }
        check_size(size.width, size.height)?;
        self.size = size;
        self.rate = (size.rate.0 > 0 && size.rate.1 > 0).then_some(size.rate);
        Ok(true)
    }

    fn format(&self) -> Format {
        Format::Yuv {
            width: self.size.width,
            height: self.size.height,
            layout: Layout::C420,
            range: Range::Limited,
        }
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        let (old, planes) = (self.size, self.size.planes());
        let length = planes.iter().map(Plane::padded).sum();
        if !read_whole(&mut self.frames, &mut self.padded, length)? {
            return Ok(false);
        }
        if let Some(new) = self
            .sizes
            .try_iter()
            .find(|new| (new.width, new.height) != (old.width, old.height))
        {
            return Err(VideoError::Resized(old.width, old.height, new.width, new.height));
        }
        bytes.clear();
        let mut rest = self.padded.as_slice();
        for plane in planes {
            let (own, behind) = rest.split_at(plane.padded());
            let rows = own.chunks_exact(plane.stride).take(plane.rows);
            bytes.extend(rows.flat_map(|row| &row[..plane.width]));
            rest = behind;
        }
        Ok(true)
    }
}

/// A plane of samples, as GStreamer lays it out.
#[derive(Clone, Copy)]
struct Plane {
    width: usize,
    rows: usize,
    stride: usize,
    /// Rows with those that fill it up.
    all_rows: usize,
}

impl Plane {
    fn padded(&self) -> usize {
        self.stride * self.all_rows
    }
}

impl Size {
    /// The size in a line that tells what arrives at the end of the pipeline.
    fn of(line: &str) -> Option<Self> {
        let (pad, caps) = line.split_once(": caps = video/x-raw")?;
        if !pad.contains("GstFdSink") {
            return None;
        }
        let field = |name: &str| {
            let value = caps.split(", ").find_map(|field| field.strip_prefix(name))?;
            let value = value.split_once(')')?.1;
            Some(value.trim_end_matches(|letter: char| !letter.is_ascii_digit()))
        };
        let (frames, seconds) = field("framerate=")
            .and_then(|rate| rate.split_once('/'))
            .unwrap_or(("0", "1"));
        Some(Self {
            width: field("width=")?.parse().ok()?,
            height: field("height=")?.parse().ok()?,
            rate: (frames.parse().ok()?, seconds.parse().ok()?),
        })
    }

    fn planes(self) -> [Plane; 3] {
        let (width, height) = (self.width as usize, self.height as usize);
        let plane = |width: usize, rows, all_rows| Plane {
            width,
            rows,
            stride: width.next_multiple_of(4),
            all_rows,
        };
        let colors = plane(width.div_ceil(2), height.div_ceil(2), height.div_ceil(2));
        [plane(width, height, height.next_multiple_of(2)), colors, colors]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_at_the_end_of_the_pipeline() {
        let line = |pad: &str| {
            format!(
                "/GstPipeline:pipeline0/{pad}: caps = video/x-raw, format=(string)I420, width=(int)322, height=(int)246, \
                 interlace-mode=(string)progressive, framerate=(fraction)30000/1001"
            )
        };
        let expected = Size {
            width: 322,
            height: 246,
            rate: (30_000, 1001),
        };
        assert_eq!(Size::of(&line("GstFdSink:fdsink0.GstPad:sink")), Some(expected));
        assert_eq!(Size::of(&line("GstVideoConvert:videoconvert0.GstPad:sink")), None);
        assert_eq!(Size::of("Setting pipeline to PLAYING ..."), None);
        let still = line("GstFdSink:f.GstPad:sink").replace(", framerate=(fraction)30000/1001", "");
        assert_eq!(Size::of(&still).unwrap().rate, (0, 1));
        // As GStreamer's `GstVideoInfo` has it.
        let sizes = |width, height| {
            let size = Size {
                width,
                height,
                rate: (0, 1),
            };
            size.planes().map(|plane| plane.padded())
        };
        assert_eq!(sizes(322, 246), [324 * 246, 164 * 123, 164 * 123]);
        assert_eq!(sizes(7, 5), [8 * 6, 4 * 3, 4 * 3]);
    }
}
