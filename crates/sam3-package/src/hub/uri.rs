//! Addresses: where a redirect leads (RFC 3986, section 5.2), and whose server that is.

/// The parts of an address or of a reference to one. A fragment is dropped, as no request carries it.
#[derive(Clone, Copy)]
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(reference: &'a str) -> Self {
        let text = reference.split_once('#').map_or(reference, |(text, _)| text);
        let (text, query) = match text.split_once('?') {
            Some((text, query)) => (text, Some(query)),
            None => (text, None),
        };
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        let (scheme, text) = match text.split_once(':') {
            Some((scheme, text)) if is_scheme(scheme) => (Some(scheme), text),
            _ => (None, text),
        };
        let (authority, path) = match text.strip_prefix("//") {
            Some(text) => {
                let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
                (Some(authority), path)
            }
            None => (None, text),
        };
        Self {
            scheme,
            authority,
            path,
            query,
        }
    }
}

/// Scheme, host and port: who is asked, and may be told a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// `None` where the address is not `http` or `https`, or names no host.
    pub fn of(address: &str) -> Option<Self> {
        let parts = Parts::of(address);
        let scheme = parts.scheme?.to_ascii_lowercase();
        let usual_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = parts.authority?;
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        // An IPv6 address has colons of its own, in brackets.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (place, ""),
        };
        let port = match port {
            "" => usual_port,
            port => port.parse().ok()?,
        };
        (!host.is_empty()).then(|| Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// True where what is sent cannot be read on the way.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, host, port } = self;
        match (self.is_encrypted(), port) {
            (true, 443) | (false, 80) => write!(f, "{scheme}://{host}"),
            _ => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// The address that `reference`, a `Location` header, means in an answer from `base`.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    let (base, reference) = (Parts::of(base), Parts::of(reference));
    let merged;
    let target = if reference.scheme.is_some() {
        reference
    } else if reference.authority.is_some() {
        Parts {
            scheme: base.scheme,
            ..reference
        }
    } else if reference.path.is_empty() {
        Parts {
            query: reference.query.or(base.query),
            ..base
        }
    } else {
        merged = merge(&base, reference.path);
        Parts {
            path: &merged,
            query: reference.query,
            ..base
        }
    };
    let mut address = String::new();
    if let Some(scheme) = target.scheme {
        address += &format!("{scheme}:");
    }
    if let Some(authority) = target.authority {
        address += &format!("//{authority}");
    }
    address += &without_dots(target.path);
    if let Some(query) = target.query {
        address += &format!("?{query}");
    }
    address
}

/// Section 5.2.3: a relative path stands in for the last segment of the base's.
fn merge(base: &Parts, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    match base.path.rfind('/') {
        Some(slash) => format!("{}/{path}", &base.path[..slash]),
        None if base.authority.is_some() => format!("/{path}"),
        None => path.to_owned(),
    }
}

/// Section 5.2.4: `.` and `..` are followed.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let is_absolute = path.starts_with('/');
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        match *segment {
            "." => {}
            ".." => _ = kept.pop(),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        // What ends in dots is a folder.
        if index + 1 == segments.len() {
            kept.push("");
        }
    }
    let root = if is_absolute { "/" } else { "" };
    format!("{root}{}", kept.join("/"))
}

/// A `Location` header as an address may be written: what it has beside ASCII, and spaces, percent-encoded.
pub(super) fn encoded(location: &[u8]) -> String {
    let mut text = String::with_capacity(location.len());
    for &byte in location {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => text += &format!("%{byte:02X}"),
            byte if byte.is_ascii_graphic() => text.push(byte.into()),
            byte => text += &format!("%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3986, section 5.4, but for fragments, which no request carries.
    #[test]
    fn references_resolve_as_the_rfc_has_it() {
        let base = "http://a/b/c/d;p?q";
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://h/x?y", "https://h/x?y"),
            ("http://h/a/../b", "http://h/b"),
        ] {
            assert_eq!(resolve(base, reference), expected, "{reference}");
        }
        // A mirror under a path: the root is the host's, a relative path is the mirror's.
        let base = "https://mirror/hf/o/n/resolve/main/x";
        assert_eq!(
            resolve(base, "/hf/api/x?e=%22a%22"),
            "https://mirror/hf/api/x?e=%22a%22"
        );
        assert_eq!(resolve(base, "/api/x"), "https://mirror/api/x");
        assert_eq!(resolve(base, "y"), "https://mirror/hf/o/n/resolve/main/y");
        assert_eq!(resolve("https://mirror", "y"), "https://mirror/y");
    }

    #[test]
    fn origins_are_compared_as_browsers_do() {
        let of = |address| Origin::of(address).map(|origin| origin.to_string());
        for (address, expected) in [
            ("https://hub.example/x", Some("https://hub.example")),
            ("HTTPS://Hub.Example:443", Some("https://hub.example")),
            ("http://hub.example:80/", Some("http://hub.example")),
            ("http://hub.example:8080/a@b", Some("http://hub.example:8080")),
            ("http://user:word@hub.example/", Some("http://hub.example")),
            ("http://[::1]:9000/x", Some("http://[::1]:9000")),
            ("http://[::1]/x", Some("http://[::1]")),
            ("ftp://hub.example", None),
            ("https:///x", None),
            ("https://hub:99999", None),
            ("hub.example", None),
        ] {
            assert_eq!(of(address).as_deref(), expected, "{address}");
        }
        assert_ne!(Origin::of("http://h"), Origin::of("https://h"));
        assert_ne!(Origin::of("http://h:1"), Origin::of("http://h:2"));
        // Not the host that it looks like.
        assert_ne!(
            Origin::of("https://hub.example@evil/"),
            Origin::of("https://hub.example/")
        );
    }

    #[test]
    fn a_location_with_other_letters_is_encoded() {
        assert_eq!(encoded("/a b/é?x=%22".as_bytes()), "/a%20b/%C3%A9?x=%22");
    }
}
