//! Videos that `sam3 track --overlay` draws: all frames, whole or not at all.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use sam3_model::image::Image;
use sam3_video::{Decoded, Frames, Mjpeg, Switch, Wanted};
use support::{
    Folder, check,
    clicks::golden,
    text,
    videos::{CLICK, arguments, interrupt, lines, track, tracked, y4m},
};

/// All pictures of a video.
fn pictures(frames: &mut dyn Frames) -> Vec<Image> {
    let (mut bytes, mut all) = (Vec::new(), Vec::new());
    while frames.read(&mut bytes).unwrap() {
        all.push(frames.format().image(&bytes).unwrap());
    }
    all
}

fn of_mjpeg(file: &Path) -> Vec<Image> {
    let bytes = fs::read(file).unwrap();
    pictures(&mut Mjpeg::new(bytes.as_slice(), None))
}

fn of_video(file: &Path) -> (Vec<Image>, Option<(u64, u64)>) {
    let uri = text(file).parse().unwrap();
    let mut frames = Decoded::open(&uri, &Wanted::default(), &Switch::default()).unwrap();
    let rate = frames.rate();
    (pictures(&mut frames), rate)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// How far two pictures are apart, in the mean over their samples.
fn distance(one: &Image, other: &Image) -> f64 {
    assert_eq!((one.width(), one.height()), (other.width(), other.height()));
    let each = one
        .rgb()
        .iter()
        .zip(other.rgb())
        .map(|(a, b)| f64::from(a.abs_diff(*b)));
    each.sum::<f64>() / one.rgb().len() as f64
}

/// The frames as PNGs, of the same run.
fn drawn(folder: &Folder, line: &str) -> Vec<Image> {
    let overlay = folder.path("drawn");
    tracked(
        &golden("video"),
        &folder.path("drawn-out"),
        &format!("{CLICK} {line}"),
        &["--overlay", text(&overlay)],
    );
    names(&overlay)
        .iter()
        .map(|name| Image::open(overlay.join(name)).unwrap())
        .collect()
}

/// The video shows the frames of the folder, in their order: each is nearer to its own than to the one before.
fn assert_same(shown: &[Image], drawn: &[Image]) {
    assert_eq!(shown.len(), drawn.len());
    for (place, (shown, own)) in shown.iter().zip(drawn).enumerate() {
        let error = distance(shown, own);
        // Fine noise is all there is in these pictures, and colours are halved.
        assert!(error < 20.0, "frame {place}: {error}");
        if let Some(before) = place.checked_sub(1) {
            assert!(error < distance(shown, &drawn[before]), "frame {place}");
        }
    }
}

#[test]
fn an_mjpeg_has_all_frames() {
    let folder = Folder::new();
    let line = "--max-frames 5";
    let (out, film) = (folder.path("out"), folder.path("deep/film.mjpeg"));
    let run = || {
        let line = format!("{CLICK} {line}");
        tracked(
            &golden("video"),
            &out,
            &line,
            &["--overlay", text(&film), "--fps", "25"],
        )
    };
    run();
    assert_same(&of_mjpeg(&film), &drawn(&folder, line));
    // Its own is replaced, another's is not.
    run();
    assert_eq!(names(film.parent().unwrap()), ["film.mjpeg"]);
    fs::write(&film, "notes").unwrap();
    let flags = track(&golden("video"), &out, CLICK, &["--overlay", text(&film)]);
    check(&arguments(&flags), 2, &["film.mjpeg exists already", "--force"]);
    assert_eq!(fs::read(&film).unwrap(), b"notes");
}

#[test]
fn what_cannot_be_is_told_before_the_work() {
    let folder = Folder::new();
    fs::create_dir(folder.path("there.mp4")).unwrap();
    let refused = |line: &str, film: &str, code: i32, words: &[&str]| {
        let out = folder.path("out");
        let flags = track(
            &golden("video"),
            &out,
            &format!("{CLICK} {line}"),
            &["--overlay", text(&folder.path(film))],
        );
        check(&arguments(&flags), code, words);
        assert!(!out.exists());
    };
    refused("", "a.avi", 2, &["a.avi: videos are written as .mp4, .mkv or .mjpeg"]);
    refused(
        "--direction backward",
        "a.mjpeg",
        2,
        &["in another order", "ffmpeg -i DIR"],
    );
    refused("--direction both", "a.mp4", 2, &["in another order"]);
    // A folder of that name is one.
    tracked(
        &golden("video"),
        &folder.path("out2"),
        &format!("{CLICK} --max-frames 1"),
        &["--overlay", text(&folder.path("there.mp4"))],
    );
    assert_eq!(names(&folder.path("there.mp4")), ["00000.png"]);
}

/// A folder with a program called ffmpeg, which is this script, and no other.
fn program(folder: &Folder, script: &str) -> PathBuf {
    let programs = folder.path("programs");
    fs::create_dir_all(&programs).unwrap();
    let program = programs.join("ffmpeg");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    programs
}

/// `sam3 track` with that program.
fn with_ffmpeg(folder: &Folder, script: &str, film: &Path, out: &Path) -> Output {
    let programs = program(folder, script);
    let flags = track(
        &golden("video"),
        out,
        &format!("{CLICK} --max-frames 6"),
        &["--overlay", text(film)],
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    command.args(&flags).env("PATH", &programs).output().unwrap()
}

#[test]
fn a_machine_without_an_encoder_is_told_what_to_install() {
    let folder = Folder::new();
    let (film, out) = (folder.path("a.mp4"), folder.path("out"));
    let flags = track(&golden("video"), &out, CLICK, &["--overlay", text(&film)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    let none = command.args(&flags).env("PATH", golden("")).output().unwrap();
    let useless = with_ffmpeg(&folder, "echo ' V....D ffv1 ...'", &film, &out);
    for (output, words) in [
        (
            none,
            ["neither ffmpeg nor gst-launch-1.0 is on PATH", "apt-get install ffmpeg"],
        ),
        (
            useless,
            ["ffmpeg has no encoder of H.264 or MPEG-4", "the other program"],
        ),
    ] {
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!out.exists());
    }
}

/// Frames that were dropped show the one before them, so that the video keeps the source's pace.
#[test]
fn dropped_frames_are_in_the_video() {
    let folder = Folder::new();
    let (film, out, count) = (folder.path("a.mp4"), folder.path("out"), folder.path("count"));
    let script = r#"[ "$2" = -encoders ] && echo ' V....D libx264 ...' && exit; /usr/bin/wc -c >"$COUNT""#;
    let programs = program(&folder, script);
    let line = format!("{CLICK} --live");
    let flags = track("-".as_ref(), &out, &line, &["--overlay", text(&film)]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sam3"))
        .args(&flags)
        .env("PATH", programs)
        .env("COUNT", &count)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stream = y4m((0..24).cycle().take(150));
    let header = stream.len() % (160 * 120 + 6);
    stdin.write_all(&stream[..header]).unwrap();
    for frame in stream[header..].chunks(160 * 120 + 6) {
        stdin.write_all(frame).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let told = lines(&out);
    let dropped: usize = told[1..]
        .iter()
        .map(|line| line["dropped"].as_u64().unwrap() as usize)
        .sum();
    assert!(dropped > 0, "the model is slower than a pipe");
    let bytes: usize = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    assert_eq!(bytes, (told.len() + dropped) * 160 * 120 * 3);
}

/// The run goes on to its end, and says it once more there.
#[test]
fn an_encoder_that_fails_leaves_no_video() {
    let folder = Folder::new();
    let list = r#"[ "$2" = -encoders ] && echo ' V....D libx264 ...' && exit"#;
    for (place, (script, words)) in [
        // It takes one frame and a part of the next.
        (
            "/usr/bin/head -c 60000 >/dev/null; echo it broke >&2; exit 7",
            "ffmpeg ended: it broke",
        ),
        ("/bin/cat >/dev/null; exit 7", "ffmpeg ended: exit status: 7"),
        // As ffmpeg ends where the disk is full.
        (
            "/bin/cat >/dev/null; echo No space left >&2",
            "ffmpeg ended: No space left",
        ),
        ("kill -KILL $$", "ffmpeg ended: signal: 9"),
    ]
    .into_iter()
    .enumerate()
    {
        let (film, out) = (folder.path("film/a.mkv"), folder.path(&format!("out{place}")));
        let output = with_ffmpeg(&folder, &format!("{list}\n{script}"), &film, &out);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains(&format!("a.mkv: {words}")) && said.contains("--decoder"),
            "{said}"
        );
        assert_eq!(lines(&out).len(), 6);
        assert!(names(&folder.path("film")).is_empty());
    }
}

/// A run of the video that is interrupted behind three frames; how many were written.
fn interrupted(film: &Path, out: &Path, line: &str) -> usize {
    let line = format!("{CLICK} {line}");
    let flags = track(&golden("video"), out, &line, &["--json", "--overlay", text(film)]);
    interrupt(&flags);
    let count = lines(out).len();
    assert!((3..24).contains(&count), "{count}");
    count
}

#[test]
fn an_interrupted_mjpeg_is_whole() {
    let folder = Folder::new();
    let film = folder.path("a.mjpeg");
    let count = interrupted(&film, &folder.path("out"), "");
    assert_eq!(of_mjpeg(&film).len(), count);
}

#[test]
#[ignore = "needs ffmpeg and GStreamer: .ci/run sources"]
fn a_video_has_all_frames_whoever_makes_it() {
    let folder = Folder::new();
    let drawn = drawn(&folder, "--every 2");
    for (program, ending) in [
        ("ffmpeg", "mp4"),
        ("ffmpeg", "mkv"),
        ("gstreamer", "mp4"),
        ("gstreamer", "mkv"),
    ] {
        let film: PathBuf = folder.path(&format!("a ! b;'{program}.{ending}"));
        let out = folder.path("out");
        let run = |line: &str| {
            let line = format!("{CLICK} --decoder {program} --fps 50 {line}");
            tracked(&golden("video"), &out, &line, &["--overlay", text(&film)])
        };
        run("--every 2");
        let (shown, rate) = of_video(&film);
        assert_eq!(rate, Some((25, 1)), "{program} {ending}: at the video's pace");
        assert_same(&shown, &drawn);
        // It is known again.
        run("--max-frames 2");
        assert_eq!(of_video(&film).0.len(), 2, "{program} {ending}");
        let count = interrupted(&film, &folder.path("interrupted"), &format!("--decoder {program}"));
        assert_eq!(of_video(&film).0.len(), count, "{program} {ending}");
        assert!(names(&folder.path("")).iter().all(|name| !name.contains("sam3-tmp")));
    }
}
