//! Videos that other programs decode for `sam3 track`: the same frames, whoever decodes them; and no child that
//! outlives it.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
    let _ = encoded(&folder, "a.mp4");
    let mut sender = Command::new("ffmpeg")
        .args([
            "-loglevel",
            "error",
            "-re",
            "-stream_loop",
            "-1",
            "-i",
            text(&folder.path("a.mp4")),
        ])
        .args([
            "-c:v",
            "libx264",
            "-g",
            "5",
            "-tune",
            "zerolatency",
            "-f",
            "mpegts",
            "udp://127.0.0.1:42577",
        ])
        .spawn()
        .unwrap();
    for (decoder, signal) in [("ffmpeg", "-INT"), ("ffmpeg", "-KILL"), ("gstreamer", "-TERM")] {
        let out = folder.path(&format!("{decoder}{signal}"));
        let line = format!("{CLICK} --decoder {decoder}");
        let flags = track(Path::new("udp://127.0.0.1:42577"), &out, &line, &[]);
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
    sender.kill().unwrap();
    sender.wait().unwrap();
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
