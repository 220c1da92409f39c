//! What the headers of an answer say of a file: its commit, its size, and the name of its bytes in the cache.

use sha2::{Digest, Sha256};
use ureq::http::HeaderMap;

use crate::digest::hex;

/// A longer name does not fit in a folder together with `.incomplete`.
const MAX_KEY: usize = 240;

/// A file as the Hub describes it.
#[derive(Debug)]
pub(super) struct Described {
    pub commit: String,
    /// Under this name the cache keeps the bytes.
    pub key: String,
    /// The digest of the bytes, where the Hub tells it.
    pub sha256: Option<String>,
    /// Unknown where only the answer with the bytes tells it.
    pub size: Option<u64>,
}

impl Described {
    /// Reads the headers of an answer to `HEAD`. `commit` is what an earlier answer said, before a redirect. `from_hub`
    /// is false for an answer of another server that the Hub redirects to: its `ETag` may be anything.
    ///
    /// # Errors
    /// A sentence about the header that is missing.
    pub fn of(headers: &HeaderMap, commit: Option<String>, is_redirect: bool, from_hub: bool) -> Result<Self, String> {
        let Some(commit) = repo_commit(headers).or(commit) else {
            return Err(
                "it sent no X-Repo-Commit header, so it is not a Hub: check HF_ENDPOINT and the proxy".to_owned(),
            );
        };
        let value = |name| {
            headers
                .get(name)
                .map(|value| value.as_bytes())
                .filter(|value| !value.is_empty())
        };
        let (linked, own) = (value("x-linked-etag"), value("etag"));
        let Some(key) = linked.or(own).and_then(key) else {
            return Err("it sent no ETag header, which names the file in the cache: check HF_ENDPOINT".to_owned());
        };
        // A weak tag does not stand for certain bytes, and one from elsewhere can be the digest of something else.
        let is_promise = linked.is_some() || (from_hub && own.is_some_and(|tag| !tag.starts_with(b"W/")));
        Ok(Self {
            commit,
            sha256: Some(key.to_ascii_lowercase()).filter(|key| is_promise && is_sha256(key)),
            key,
            size: number(headers, "x-linked-size").or_else(|| {
                // A redirect states the length of its own text, and a compressed answer that of the compressed bytes.
                let is_length = !is_redirect && !headers.contains_key("content-encoding");
                number(headers, "content-length").filter(|_| is_length)
            }),
        })
    }

    /// What is wrong with `bytes` that arrived and have this digest; `None` where nothing is.
    pub fn refute(&self, bytes: u64, sha256: &str) -> Option<String> {
        let size = self.size.filter(|size| *size != bytes);
        let digest = self.sha256.as_ref().filter(|expected| *expected != sha256);
        if size.is_none() && digest.is_none() {
            return None;
        }
        let expected = match (self.size, &self.sha256) {
            (Some(size), Some(digest)) => format!("{size} bytes with sha256 {digest}"),
            (Some(size), None) => format!("{size} bytes"),
            (None, digest) => format!("sha256 {}", digest.as_deref().unwrap_or_default()),
        };
        Some(format!("expected {expected}, received {bytes} with sha256 {sha256}"))
    }

    /// True where a redirect describes the file by itself, so that it need not be followed.
    pub fn is_in(headers: &HeaderMap) -> bool {
        repo_commit(headers).is_some() && (headers.contains_key("x-linked-etag") || headers.contains_key("etag"))
    }
}

/// The commit that an answer is of; it becomes the name of a folder.
pub(super) fn repo_commit(headers: &HeaderMap) -> Option<String> {
    let commit = headers.get("x-repo-commit")?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (!commit.is_empty() && commit.bytes().all(is_plain)).then(|| commit.to_owned())
}

pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A tag, `"…"`, `W/"…"` or without quotes, as a file's name; as in `huggingface_hub` where that has one.
fn key(tag: &[u8]) -> Option<String> {
    let tag = tag.trim_ascii();
    let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
    let mut key = String::new();
    for &byte in tag {
        match byte {
            b'"' => {}
            b'.' if key.is_empty() => key += "%2E",
            b'/' => key += "%2F",
            byte if byte.is_ascii_graphic() => key.push(byte.into()),
            byte => key += &format!("%{byte:02X}"),
        }
    }
    match key.len() {
        0 => None,
        1..=MAX_KEY => Some(key),
        _ => Some(format!("long-{}", hex(&Sha256::digest(key)))),
    }
}

fn is_sha256(key: &str) -> bool {
    key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        lines.iter().map(pair).collect()
    }

    #[test]
    fn every_form_of_tag_names_a_file() {
        let digest = "ab12".repeat(16);
        let upper = digest.to_uppercase();
        for (name, tag, key, is_digest) in [
            ("x-linked-etag", format!("\"{digest}\""), digest.as_str(), true),
            ("x-linked-etag", format!("W/\"{digest}\""), &digest, true),
            ("x-linked-etag", digest.clone(), &digest, true),
            ("x-linked-etag", format!("\"{upper}\""), &upper, true),
            ("etag", format!("\"{digest}\""), &digest, true),
            ("etag", format!("W/\"{digest}\""), &digest, false),
            (
                "etag",
                format!("\"{}-3\"", &digest[..32]),
                &format!("{}-3", &digest[..32]),
                false,
            ),
            ("etag", "\"0x8DC1/a+b=\"".to_owned(), "0x8DC1%2Fa+b=", false),
            ("etag", "2d-5f3e:1a".to_owned(), "2d-5f3e:1a", false),
            ("etag", "\"../../x\"".to_owned(), "%2E.%2F..%2Fx", false),
            ("etag", "\"a b\"".to_owned(), "a%20b", false),
        ] {
            let described =
                Described::of(&headers(&[("x-repo-commit", "c0"), (name, &tag)]), None, false, true).unwrap();
            assert_eq!(described.key, key, "{tag}");
            assert_eq!(described.sha256, is_digest.then(|| digest.clone()), "{tag}");
        }
        let long = "x".repeat(4000);
        let described =
            Described::of(&headers(&[("x-repo-commit", "c0"), ("etag", &long)]), None, false, true).unwrap();
        assert!(described.key.len() < 100 && described.sha256.is_none());
    }

    #[test]
    fn a_digest_is_taken_from_the_hub_alone() {
        let digest = "ab12".repeat(16);
        let lines = headers(&[("x-repo-commit", "c0"), ("etag", &digest)]);
        assert!(Described::of(&lines, None, false, false).unwrap().sha256.is_none());
        let lines = headers(&[
            ("x-repo-commit", "c0"),
            ("etag", "\"other\""),
            ("x-linked-etag", &digest),
        ]);
        assert_eq!(Described::of(&lines, None, true, true).unwrap().key, digest);
    }

    #[test]
    fn a_size_is_the_files_own() {
        let size = |lines: &[(&'static str, &str)], is_redirect| {
            let all = [&[("x-repo-commit", "c0"), ("etag", "e")], lines].concat();
            Described::of(&headers(&all), None, is_redirect, true).unwrap().size
        };
        assert_eq!(size(&[("content-length", "9")], false), Some(9));
        assert_eq!(size(&[("content-length", "9")], true), None);
        assert_eq!(
            size(&[("content-length", "9"), ("x-linked-size", "700")], true),
            Some(700)
        );
        assert_eq!(
            size(&[("content-length", "9"), ("content-encoding", "gzip")], false),
            None
        );
        assert_eq!(size(&[], false), None);
    }

    #[test]
    fn the_missing_header_is_named() {
        for (lines, word) in [
            (&[("etag", "e")][..], "X-Repo-Commit"),
            (&[("etag", "e"), ("x-repo-commit", "../..")], "X-Repo-Commit"),
            (&[("x-repo-commit", "c0")], "ETag"),
            (&[("x-repo-commit", "c0"), ("etag", "\"\"")], "ETag"),
        ] {
            let error = Described::of(&headers(lines), None, false, true).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        // Told by the mirror that redirected here.
        let described = Described::of(&headers(&[("etag", "e")]), Some("c1".to_owned()), false, false).unwrap();
        assert_eq!(described.commit, "c1");
    }
}
