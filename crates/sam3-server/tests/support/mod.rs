//! A server without a socket on a miniature model, and requests to it.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod videos;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, Response, StatusCode},
};
use http_body_util::BodyExt;
use sam3_model::{Device, Options, report::Loaded};
use sam3_package::StateDict;
use sam3_server::{Access, Model, Settings, app};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// The repository's `crates/`.
fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The miniature of `sam3 demo`, which answers texts.
pub fn demo() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let assets = crates().join("sam3-cli/assets/demo");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{}", env!("CARGO_CRATE_NAME")));
        fs::create_dir_all(&folder).unwrap();
        let packed = fs::read(assets.join("model.safetensors.gz")).unwrap();
        let mut model = Vec::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut model)
            .unwrap();
        fs::write(folder.join("model.safetensors"), model).unwrap();
        fs::copy(assets.join("config.json"), folder.join("config.json")).unwrap();
        folder.join("model.safetensors")
    })
}

/// A picture that it knows: three boats.
pub fn scene() -> Vec<u8> {
    fs::read(crates().join("sam3-cli/assets/demo/scene.png")).unwrap()
}

/// The miniature with a tracker, which takes clicks.
pub fn clickable() -> PathBuf {
    crates().join("sam3-model/tests/goldens/tracker/mini.pt")
}

/// The picture that its answers are known of.
pub fn picture() -> Vec<u8> {
    fs::read(crates().join("sam3-model/tests/goldens/tracker/picture.png")).unwrap()
}

/// A frame of the tracker's video, of 160 x 120 pixels.
pub fn frame(number: usize) -> Vec<u8> {
    let path = format!("sam3-model/tests/goldens/tracker/video/{number:02}.png");
    fs::read(crates().join(path)).unwrap()
}

pub fn load(checkpoint: &Path) -> Loaded {
    let dict = Arc::new(StateDict::open(checkpoint).unwrap());
    Loaded::load(dict, &Options::new(&Device::Cpu)).unwrap()
}

/// A server with a model that is loaded.
pub struct Server {
    pub runtime: Runtime,
    pub app: Router,
    pub model: Model,
}

/// For clients on this machine, without a token.
pub fn settings() -> Settings {
    Settings::new(Access::listening_on("127.0.0.1".parse().unwrap()))
}

impl Server {
    pub fn new(checkpoint: &Path) -> Self {
        Self::with(checkpoint, settings())
    }

    pub fn with(checkpoint: &Path, settings: Settings) -> Self {
        let path = checkpoint.to_owned();
        let (model, _) = Model::start(settings, move || Ok::<_, ()>(load(&path)));
        let end = Instant::now() + Duration::from_secs(60);
        while model.opened().is_none() {
            assert!(Instant::now() < end, "the model was not loaded");
            std::thread::sleep(Duration::from_millis(5));
        }
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        Self {
            runtime: builder.worker_threads(2).enable_all().build().unwrap(),
            app: app(model.clone()),
            model,
        }
    }

    pub fn send(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(async {
            let response = self.app.clone().oneshot(request).await.unwrap();
            Answer::of(response).await
        })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[], Bytes::new()))
    }

    pub fn post(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> Answer {
        self.send(request("POST", path, &[("content-type", kind)], body))
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, "application/json", body.to_string())
    }

    /// Encodes a picture and returns its name.
    pub fn encode(&self, picture: Vec<u8>) -> String {
        let answer = self.post("/v1/images", "image/png", picture);
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

/// A request from this machine.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:7860");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.into())).unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// That it is an error of this status and kind, whose sentence has these words.
    #[track_caller]
    pub fn is_error(&self, status: u16, kind: &str, words: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let error = &self.json()["error"];
        assert_eq!(error["kind"], kind, "{self:?}");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "expected {words:?} in {self:?}"
        );
    }
}

/// A form of fields and perhaps a picture, with its content type.
pub fn form(fields: &[(&str, &str)], picture: Option<&[u8]>) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    if let Some(picture) = picture {
        let head = "--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"/etc/passwd\"\r\n\r\n";
        body.extend(head.bytes());
        body.extend(picture);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

/// The header of a PNG that has no pixels behind it.
pub fn png_of(width: u32, height: u32) -> Vec<u8> {
    let image = sam3_model::image::Image::new(1, 1, vec![0; 3]).unwrap();
    let mut png = image.to_png();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
