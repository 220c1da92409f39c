//! Names and digests of the bytes in the cache, and links whose bytes are gone.

use super::*;

#[test]
fn any_tag_that_can_name_a_file_does() {
    let forms: [(Describe, &str); 7] = [
        (|_, _| "ETag: \"0123abc-12\"".to_owned(), "0123abc-12"),
        (|_, _| "ETag: W/\"0123abc\"".to_owned(), "0123abc"),
        (|_, _| "ETag: 0123abc".to_owned(), "0123abc"),
        (|_, _| "ETag: \"5f3e.x/y=\"".to_owned(), "5f3e.x%2Fy="),
        (
            |_, size| format!("X-Linked-Etag: W/\"ab-2\"\r\nX-Linked-Size: {size}\r\nETag: \"x\""),
            "ab-2",
        ),
        // As long as a SHA-256, which a weak tag is not.
        (
            |_, _| format!("ETag: W/\"{}\"", "ab".repeat(32)),
            &*"ab".repeat(32).leak(),
        ),
        (
            |digest, _| format!("ETag: \"{digest}\""),
            &*hex(&Sha256::digest(weights(300_000))).leak(),
        ),
    ];
    for (index, (describes, key)) in forms.into_iter().enumerate() {
        let server = Server::start(
            &format!("tag-{index}"),
            Habits {
                describes: Some(describes),
                redirects: false,
                drops_after: Some(200_000),
                ..habits()
            },
        );
        let path = server.fetch().unwrap();
        assert!(fs::read(&path).unwrap() == weights(300_000));
        let names: Vec<_> = fs::read_dir(server.blobs())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [key]);
        assert_eq!(server.fetch().unwrap(), path);
        assert_eq!(server.gets(), 2, "form {index}: in two parts, and not again");
    }
}

#[test]
fn a_digest_is_checked_wherever_one_is_told() {
    let forms: [Describe; 4] = [
        |digest, _| format!("ETag: \"{digest}\""),
        |digest, _| format!("ETag: {}", digest.to_uppercase()),
        |digest, _| format!("X-Linked-Etag: \"{digest}\"\r\nETag: \"abc-1\""),
        |digest, _| format!("X-Linked-Etag: W/\"{digest}\""),
    ];
    for (index, describes) in forms.into_iter().enumerate() {
        let server = Server::start(
            &format!("lying-{index}"),
            Habits {
                describes: Some(describes),
                redirects: false,
                lies: true,
                ..habits()
            },
        );
        let error = server.fetch().unwrap_err().to_string();
        assert!(error.contains("with sha256") && error.contains("removed"), "{error}");
        assert_eq!(fs::read_dir(server.blobs()).unwrap().count(), 0);
    }
}

#[test]
fn a_size_may_come_with_the_bytes() {
    for drops_after in [None, Some(70_000)] {
        let server = Server::start(
            &format!("size-{drops_after:?}"),
            Habits {
                describes: Some(|_, _| "ETag: \"abc-1\"".to_owned()),
                hides_size: true,
                redirects: false,
                drops_after,
                ..habits()
            },
        );
        // What is there may be all of it, or more.
        fs::create_dir_all(server.blobs()).unwrap();
        fs::write(server.blobs().join("abc-1.incomplete"), weights(300_001)).unwrap();
        assert!(fs::read(server.fetch().unwrap()).unwrap() == weights(300_000));
    }
}

#[test]
fn an_answer_without_a_header_that_is_needed_names_it() {
    let server = Server::start(
        "untagged",
        Habits {
            describes: Some(|_, _| "X-Other: 1".to_owned()),
            redirects: false,
            ..habits()
        },
    );
    let error = server.fetch().unwrap_err().to_string();
    assert!(error.contains("is not a Hub's") && error.contains("no ETag"), "{error}");
}

#[test]
fn a_link_whose_bytes_are_gone_is_fetched_again_or_told() {
    let server = Server::start("pruned", habits());
    let path = server.fetch().unwrap();
    let blob = path.canonicalize().unwrap();
    fs::remove_file(&blob).unwrap();
    let offline = Hub {
        offline: true,
        ..server.hub.clone()
    };
    for revision in ["main", COMMIT] {
        let error = offline.fetch("facebook/sam3", revision, &()).unwrap_err();
        assert_eq!(fault(&error), HubFault::NotCached);
        let error = error.to_string();
        for words in [path.to_str().unwrap(), blob.to_str().unwrap(), "which is gone"] {
            assert!(error.contains(words), "expected {words:?} in {error}");
        }
    }
    assert_eq!(server.fetch().unwrap(), path);
    assert!(fs::read(&path).unwrap() == weights(300_000));
    // Under another name than the tag's: the link is made anew.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", &path).unwrap();
    fs::remove_file(&blob).unwrap();
    assert!(fs::read(server.fetch().unwrap()).unwrap() == weights(300_000));
    assert_eq!(path.canonicalize().unwrap(), blob);
}

#[test]
fn a_config_whose_bytes_are_gone_is_told_too() {
    let files = HashMap::from([("model.safetensors", weights(1000)), ("config.json", b"{}".to_vec())]);
    let server = Server::start("pruned-config", Habits { files, ..habits() });
    let path = server.fetch().unwrap();
    fs::remove_file(path.with_file_name("config.json").canonicalize().unwrap()).unwrap();
    let offline = Hub {
        offline: true,
        ..server.hub.clone()
    };
    let error = offline.fetch("facebook/sam3", "main", &()).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("gone"), "{error}");
    server.fetch().unwrap();
    assert_eq!(offline.fetch("facebook/sam3", "main", &()).unwrap(), path);
}

/// A commit's bytes are the same under whatever tag another mirror gives them.
#[test]
fn a_file_of_the_same_commit_is_not_fetched_again() {
    let first = Server::start("first", habits());
    let path = first.fetch().unwrap();
    let second = Server::start(
        "second",
        Habits {
            describes: Some(|_, _| "ETag: \"abc-1\"".to_owned()),
            redirects: false,
            ..habits()
        },
    );
    let hub = Hub {
        cache: first.folder.clone(),
        ..second.hub.clone()
    };
    assert_eq!(hub.fetch("facebook/sam3", "main", &()).unwrap(), path);
    assert_eq!(second.gets(), 0);
}

/// Who waited for the lock of a download must not write into the blob that it has become.
#[test]
fn what_another_run_has_fetched_is_not_written_to() {
    let folder = std::env::temp_dir().join(format!("sam3-hub-waits-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let blob = folder.join("blob");
    let mut first = Partial::open(&blob).unwrap().unwrap();
    assert!(first.append(&mut &b"whole"[..], Some(5), &()).is_ok());
    let waiting = thread::spawn({
        let blob = blob.clone();
        move || Partial::open(&blob).unwrap().unwrap()
    });
    // Long enough to be at the lock.
    thread::sleep(Duration::from_millis(300));
    first.finish(&blob).unwrap();
    waiting.join().unwrap().restart().unwrap();
    assert_eq!(fs::read(&blob).unwrap(), b"whole");
    fs::remove_dir_all(folder).unwrap();
}
