//! Videos that other programs decode for `sam3 track`: the same frames, whoever decodes them; and no child that
//! outlives it.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{
    Folder, check,
    clicks::golden,
    text,
    videos::{CLICK, arguments, found, lines, track, tracked, y4m},
};

const FRAMES: usize = 8;

/// A Y4M's frames as H.264, which loses nothing.
fn encoded(folder: &Folder, name: &str) -> PathBuf {
    let (source, path) = (folder.path("source.y4m"), folder.path(name));
    fs::write(&source, y4m(0..FRAMES)).unwrap();
    let files = [
        "-i",
        text(&source),
        "-c:v",
        "libx264",
        "-qp",
        "0",
        "-pix_fmt",
        "yuv420p",
        text(&path),
    ];
    let mut command = Command::new("ffmpeg");
    let status = command.args(["-loglevel", "error", "-y"]).args(files).status();
    assert!(status.unwrap().success());
    path
}

#[test]
#[ignore = "needs ffmpeg and GStreamer: .ci/run sources"]
fn a_file_has_the_same_frames_whoever_decodes_it() {
    let folder = Folder::new();
    let video = encoded(&folder, "a b;'!.mp4");
    let expected = found(&tracked(&folder.path("source.y4m"), &folder.path("y4m"), CLICK, &[]));
    for decoder in ["ffmpeg", "gstreamer"] {
        let line = format!("{CLICK} --decoder {decoder}");
        let lines = tracked(&video, &folder.path(decoder), &line, &[]);
        assert_eq!(found(&lines), expected, "{decoder}");
        assert_eq!(lines[3]["time_ms"], 120.0);
    }
}

/// As a phone writes it: the frames lie, and the file says by how much to turn them.
#[test]
#[ignore = "needs ffmpeg and GStreamer: .ci/run sources"]
fn a_turned_video_is_upright_whoever_decodes_it() {
    let folder = Folder::new();
    let (lying, turned) = (encoded(&folder, "lying.mp4"), folder.path("turned.mp4"));
    let rotation = ["-c", "copy", "-metadata:s:v", "rotate=90", text(&turned)];
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-i", text(&lying)]).args(rotation);
    assert!(command.status().unwrap().success());
    let of = |decoder: &str| {
        // Upright, the video has so many rows; lying, this point is outside.
        let line = format!("--point 60,150 --decoder {decoder}");
        tracked(&turned, &folder.path(decoder), &line, &[])
    };
    let (lines, others) = (of("ffmpeg"), of("gstreamer"));
    assert_eq!((lines.len(), found(&lines)), (FRAMES, found(&others)));
}

#[test]
#[ignore = "needs ffmpeg and GStreamer: .ci/run sources"]
fn what_is_cut_or_is_no_video_is_told() {
    let folder = Folder::new();
    let whole = fs::read(encoded(&folder, "whole.mp4")).unwrap();
    for (name, bytes) in [("cut.mp4", &whole[..whole.len() / 2]), ("words.mp4", b"words")] {
        let path = folder.path(name);
        fs::write(&path, bytes).unwrap();
        for decoder in ["ffmpeg", "gstreamer"] {
            let line = format!("{CLICK} --decoder {decoder}");
            let flags = track(&path, &folder.path("out"), &line, &[]);
            check(&arguments(&flags), 1, &[name, "ended:", "copy it again"]);
        }
    }
}

/// A file that has no end, as a camera: whoever decodes it goes with the run.
#[test]
#[ignore = "needs ffmpeg and GStreamer: .ci/run sources"]
fn no_decoder_outlives_a_run() {
    let folder = Folder::new();
    let port = free_port();
    let _sender = Sender::start(&encoded(&folder, "a.mp4"), port, 600);
    let source = format!("udp://127.0.0.1:{port}");
    for (decoder, signal) in [("ffmpeg", "-INT"), ("ffmpeg", "-KILL"), ("gstreamer", "-TERM")] {
        let out = folder.path(&format!("{decoder}{signal}"));
        let line = format!("{CLICK} --decoder {decoder}");
        let flags = track(Path::new(&source), &out, &line, &[]);
        let mut child = Command::new("env")
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_sam3")])
            .args(&flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        let wait_for = |is_done: &mut dyn FnMut() -> bool| {
            while !is_done() {
                assert!(begin.elapsed() < Duration::from_secs(120), "{decoder} {signal}");
                thread::sleep(Duration::from_millis(20));
            }
        };
        wait_for(&mut || fs::read_to_string(out.join("track.jsonl")).is_ok_and(|text| text.lines().count() > 3));
        assert!(!children(child.id()).is_empty());
        let decoders = children(child.id());
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        wait_for(&mut || child.try_wait().unwrap().is_some());
        wait_for(&mut || {
            decoders
                .iter()
                .all(|id| !Path::new(&format!("/proc/{id}/exe")).exists())
        });
        assert!(lines(&out).len() > 3);
    }
}

/// A stream on the loopback; it ends with the test.
struct Sender(Child);

impl Sender {
    /// Sends a video again and again, for so many seconds.
    fn start(video: &Path, port: u16, seconds: u32) -> Self {
        let duration = seconds.to_string();
        let stream = ["-re", "-stream_loop", "-1", "-t", &duration, "-i", text(video)];
        let coded = ["-c:v", "libx264", "-g", "5", "-tune", "zerolatency", "-f", "mpegts"];
        let mut command = Command::new("ffmpeg");
        command.args(["-loglevel", "quiet"]).args(stream).args(coded);
        Self(command.arg(format!("udp://127.0.0.1:{port}")).spawn().unwrap())
    }

    fn wait(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // One that has ended is no failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// A stream that is cut, and comes back: what came until then is written, and numbers go on.
#[test]
#[ignore = "needs ffmpeg and GStreamer: .ci/run sources"]
fn a_stream_that_goes_away_may_come_back() {
    let folder = Folder::new();
    let video = encoded(&folder, "a.mp4");
    let run = |port: u16, line: &str| {
        let out = folder.path(&format!("out{port}"));
        let source = format!("udp://127.0.0.1:{port}");
        let flags = track(Path::new(&source), &out, &format!("{CLICK} {line}"), &[]);
        let child = Command::new(env!("CARGO_BIN_EXE_sam3"))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (child, out)
    };
    // Away for good.
    let port = free_port();
    let (child, out) = run(port, "");
    let mut first = Sender::start(&video, port, 4);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("no frame came for 5 s"), "{said}");
    let told = lines(&out);
    assert!(told.len() > 2, "{said}");
    for line in &told {
        assert!(
            line["latency_ms"].as_f64().unwrap() > 0.0 && line["dropped"].is_u64(),
            "{line}"
        );
    }
    let numbers: Vec<u64> = told.iter().map(|line| line["frame"].as_u64().unwrap()).collect();
    for (pair, line) in numbers.windows(2).zip(&told[1..]) {
        assert_eq!(pair[1] - pair[0] - 1, line["dropped"].as_u64().unwrap());
    }
    first.wait();
    // And back.
    let port = free_port();
    let (child, out) = run(port, "--reconnect 60 --max-frames 150");
    Sender::start(&video, port, 4).wait();
    thread::sleep(Duration::from_secs(8));
    let before = lines(&out).len();
    let _second = Sender::start(&video, port, 60);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("the source is away"), "{said}");
    let told = lines(&out);
    assert!(before > 2 && before < 150 && told.len() == 150, "{before}: {said}");
    assert!(told.is_sorted_by_key(|line| line["frame"].as_u64()));
}

#[test]
fn a_live_source_is_taken_as_it_comes() {
    let folder = Folder::new();
    for (source, line, words) in [
        ("udp://@:42580", "--every 2", "leave --every"),
        ("udp://@:42580", "--direction both", "leave --every"),
        ("street.mp4", "--reconnect 5", "no camera and no stream"),
        ("street.mp4", "--hold", "give --live"),
        ("-", "--live --start 3", "--start"),
        ("udp://@:42580", "--reconnect -1", "expected seconds"),
    ] {
        let flags = track(Path::new(source), &folder.path("out"), &format!("{CLICK} {line}"), &[]);
        check(&arguments(&flags), 2, &[words]);
    }
    // A pipe that is read live tells of it.
    let flags = track(
        Path::new("-"),
        &folder.path("out"),
        &format!("{CLICK} --live --max-frames 1"),
        &[],
    );
    let output = support::sam3_reading(&arguments(&flags), &y4m(0..FRAMES));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = lines(&folder.path("out"));
    assert!(
        told[0]["latency_ms"].is_number() && told[0]["dropped"].is_number(),
        "{}",
        told[0]
    );
}

fn children(id: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let all = fs::read_dir(format!("/proc/{id}/task")).unwrap().map(|task| {
        let task = task.unwrap().path();
        fs::read_to_string(task.join("children")).unwrap_or_default()
    });
    let all = all.collect::<Vec<_>>().concat() + &children;
    all.split_ascii_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_machine_without_a_decoder_is_told_what_to_install() {
    let folder = Folder::new();
    let video = folder.path("a.mkv");
    fs::write(&video, b"\x1a\x45\xdf\xa3\x93\x42\x82").unwrap();
    for (decoder, word) in [("auto", "apt-get install ffmpeg"), ("gstreamer", "gstreamer1.0-tools")] {
        let flags = track(
            &video,
            &folder.path("out"),
            &format!("{CLICK} --decoder {decoder}"),
            &[],
        );
        let output = Command::new(env!("CARGO_BIN_EXE_sam3"))
            .args(&flags)
            .env("PATH", golden(""))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("on PATH") && said.contains(word), "{said}");
    }
}
