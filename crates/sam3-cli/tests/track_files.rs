//! What `sam3 track` writes: nothing of others is lost, whatever ends a run leaves whole lines, and memory does not
//! grow.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    Folder, check,
    clicks::golden,
    text,
    videos::{CLICK, arguments, lines, pictures, samples, speaking, track, track_by, tracked, words, y4m},
};

#[test]
fn what_others_wrote_stays() {
    let folder = Folder::new();
    let (out, overlay, dump) = (folder.path("out"), folder.path("overlay"), folder.path("dump"));
    let more = ["--overlay", text(&overlay), "--dump-tensors", text(&dump)];
    let run = |line: &str| tracked(&golden("video"), &out, &format!("{CLICK} {line}"), &more);
    let names = |name: &str| {
        let folder = fs::read_dir(folder.path(name)).unwrap();
        let mut names: Vec<String> = folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(run("--max-frames 4").len(), 4);
    assert_eq!(names("overlay"), ["00000.png", "00001.png", "00002.png", "00003.png"]);
    // Its own are replaced, and what has no successor goes.
    assert_eq!(run("--max-frames 2").len(), 2);
    assert_eq!(names("overlay"), ["00000.png", "00001.png"]);
    assert_eq!(names("dump"), ["00000.safetensors", "00001.safetensors"]);
    assert_eq!(names("out"), ["track.jsonl"]);

    let flags = track(&golden("video"), &out, CLICK, &more);
    for (file, bytes) in [
        (overlay.join("00017.png"), fs::read(golden("video/00.png")).unwrap()),
        (out.join("track.jsonl"), b"notes\n".to_vec()),
    ] {
        let own = fs::read(&file).ok();
        fs::write(&file, &bytes).unwrap();
        check(&arguments(&flags), 2, &["sam3 did not write it", "--force"]);
        assert_eq!(fs::read(&file).unwrap(), bytes);
        match own {
            Some(own) => fs::write(&file, own).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
    }
    fs::write(out.join("track.jsonl"), "notes\n").unwrap();
    assert_eq!(run("--force --max-frames 1").len(), 1);

    // Overlays are not put among the frames, not even by force.
    let stills = folder.path("stills");
    pictures(&stills, 0..2);
    let flags = track(
        &stills,
        &out,
        &format!("{CLICK} --force --overlay {}", text(&stills)),
        &[],
    );
    check(&arguments(&flags), 2, &["--overlay", "it is the folder of --source"]);
    fs::write(folder.path("file"), "notes").unwrap();
    let line = format!("{CLICK} --overlay {}", text(&folder.path("file")));
    check(
        &arguments(&track(&stills, &out, &line, &[])),
        2,
        &["--overlay", "expected a folder"],
    );
}

/// A run that fails before its first frame leaves the results of the one before.
#[test]
fn results_stay_until_there_are_others() {
    let folder = Folder::new();
    let (stills, out) = (folder.path("stills"), folder.path("out"));
    pictures(&stills, 0..2);
    let before = tracked(&stills, &out, CLICK, &[]);
    fs::write(stills.join("0.png"), "damaged").unwrap();
    check(&arguments(&track(&stills, &out, CLICK, &[])), 1, &["0.png"]);
    assert_eq!(lines(&out), before);
}

/// Frames without end, as a camera sends them: they go into the run until it ends.
fn film(mut child: Child, frames: usize) -> (Child, thread::JoinHandle<()>) {
    let mut stdin = child.stdin.take().unwrap();
    let feeder = thread::spawn(move || {
        let some: Vec<Vec<u8>> = (0..24).map(samples).collect();
        let mut write = || {
            stdin.write_all(b"YUV4MPEG2 W160 H120 F25:1 Cmono\n")?;
            for frame in 0..frames {
                // There and back, so that nothing jumps.
                let place = frame % 46;
                stdin.write_all(b"FRAME\n")?;
                stdin.write_all(&some[place.min(46 - place)])?;
            }
            Ok::<_, std::io::Error>(())
        };
        // The run may end first.
        let _ = write();
    });
    (child, feeder)
}

fn start(flags: &[String]) -> Child {
    // A released program, where it is named: the longest runs take minutes otherwise.
    let program = std::env::var("SAM3_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_sam3").to_owned());
    // Where tests run in the background, SIGINT is ignored, and so it is by what they start.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", &program]).args(flags);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// A text holds 14 frames back. A signal comes while the source is silent: all that it sent before is written.
#[test]
fn an_interrupted_run_writes_what_a_text_held_back() {
    let folder = Folder::new();
    let (model, words) = (speaking(&folder), words());
    for (signal, number, frames) in [("-INT", 2, 9), ("-TERM", 15, 1), ("-INT", 2, 0)] {
        let name = |what: &str| folder.path(&format!("{what}{frames}"));
        let (out, overlay, dump) = (name("out"), name("overlay"), name("dump"));
        let files = ["--overlay", text(&overlay), "--dump-tensors", text(&dump)];
        let more = [&["--json", "--prompt", &words][..], &files].concat();
        let mut child = start(&track_by(&model, "-".as_ref(), &out, "", &more));
        let mut stdin = child.stdin.take().unwrap();
        // A part of the next frame, too.
        stdin.write_all(&y4m(0..frames)).unwrap();
        stdin.write_all(b"FRAME\nabc").unwrap();
        let begin = Instant::now();
        let wait_for = |is_done: &mut dyn FnMut() -> bool| {
            while !is_done() {
                assert!(begin.elapsed() < Duration::from_secs(120), "{frames} frames");
                thread::sleep(Duration::from_millis(20));
            }
        };
        match frames.checked_sub(1) {
            Some(last) => wait_for(&mut || dump.join(format!("{last:05}.safetensors")).exists()),
            None => thread::sleep(Duration::from_secs(2)),
        }
        send(signal, &child);
        wait_for(&mut || child.try_wait().unwrap().is_some());
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.signal(), Some(number));
        let said = String::from_utf8(output.stderr).unwrap();
        if frames == 0 {
            assert!(!out.exists(), "{said}");
            continue;
        }
        assert!(
            said.contains(&format!("{frames} frame")) && said.contains("written"),
            "{said}"
        );
        assert_eq!(output.stdout, fs::read(out.join("track.jsonl")).unwrap());
        let numbers: Vec<Value> = lines(&out).iter().map(|line| line["frame"].clone()).collect();
        assert_eq!(numbers, (0..frames).map(Value::from).collect::<Vec<_>>());
        for folder in [overlay, dump] {
            assert_eq!(fs::read_dir(folder).unwrap().count(), frames);
        }
    }
}

#[test]
fn an_interrupted_run_leaves_whole_lines() {
    let folder = Folder::new();
    for (round, signal) in ["-INT", "-TERM", "-INT", "-TERM"].into_iter().enumerate() {
        // The second of two signals ends it at once.
        let is_twice = round >= 2;
        let (out, overlay) = (
            folder.path(&format!("out{round}")),
            folder.path(&format!("overlay{round}")),
        );
        let flags = track("-".as_ref(), &out, CLICK, &["--json", "--overlay", text(&overlay)]);
        let (mut child, feeder) = film(start(&flags), 100_000);
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 + round {
            said.next().unwrap().unwrap();
        }
        thread::sleep(Duration::from_millis(7 * round as u64));
        send(signal, &child);
        if is_twice {
            send("-INT", &child);
        }
        let rest = said.map_while(Result::ok).count();
        assert!(!child.wait().unwrap().success());
        feeder.join().unwrap();
        let lines = lines(&out);
        assert!(lines.len() >= 3 + round + rest, "what was said is written");
        // Where a line is, its overlay is; nothing else is left.
        let drawn = fs::read_dir(&overlay).unwrap().count();
        assert!(
            drawn == lines.len() || is_twice && drawn == lines.len() + 1,
            "{drawn} overlays, {} lines",
            lines.len()
        );
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    }
}

/// Resident memory of a process, in kB.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// Follows two objects through so many frames; memory where `early` of them are done, and at the end.
fn memory_over(frames: usize, early: usize) -> [u64; 2] {
    let folder = Folder::new();
    let line = format!("{CLICK} --object --point 40,60@10");
    let flags = track("-".as_ref(), &folder.path("out"), &line, &["--json"]);
    let (mut child, feeder) = film(start(&flags), frames);
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    let ends = [early, frames];
    let mut most = [0; 2];
    for (number, line) in said.enumerate() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(line["frame"], number);
        // The largest of some frames: what one allocates and frees may be there or not.
        for (most, end) in most.iter_mut().zip(ends) {
            if (end - 20..end).contains(&number) {
                *most = resident(child.id()).max(*most);
            }
        }
    }
    feeder.join().unwrap();
    assert!(child.wait().unwrap().success());
    most
}

/// What the miniature remembers of a frame, were it kept, is 8 kB an object, and its logits 16 kB: 60 frames of two
/// objects would take 2.9 MB.
#[test]
fn memory_is_flat_over_100_frames() {
    let [early, late] = memory_over(100, 40);
    assert!(late < early + 1_500, "{early} kB after 40 frames, {late} kB after 100");
}

#[test]
#[ignore = "long: .ci/run video runs it with the released program"]
fn memory_is_flat_over_400_frames() {
    let [early, late] = memory_over(400, 100);
    assert!(late < early + 3_000, "{early} kB after 100 frames, {late} kB after 400");
}

#[test]
#[ignore = "long: .ci/run long_video runs it with the released program"]
fn memory_is_flat_over_5000_frames() {
    let [early, late] = memory_over(5000, 100);
    assert!(
        late < early + 3_000,
        "{early} kB after 100 frames, {late} kB after 5000"
    );
}
