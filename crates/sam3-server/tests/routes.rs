//! Every route's answer against the library's.

mod support;

use base64::{Engine, engine::general_purpose::STANDARD};
use sam3_model::{
    Clicks, ExemplarBox, Instance, Prompt, Tiles, Tiling, image::Image, masks::Mask, masks::Rle, report::Loaded,
};
use serde_json::{Value, json};
use support::{Server, clickable, demo, form, load, picture, request, scene};

/// The demo's picture and "boat", by the library.
fn found(loaded: &Loaded, prompt: &Prompt, threshold: f32) -> Vec<Instance> {
    let model = &loaded.segmenter;
    let encoded = model.encode(&Image::decode(&scene()).unwrap()).unwrap();
    model
        .detect(&encoded, prompt)
        .unwrap()
        .instances(&encoded, threshold)
        .unwrap()
}

/// That instances of an answer are those of the library.
#[track_caller]
fn are(answer: &Value, expected: &[Instance]) {
    let answered = answer.as_array().unwrap();
    assert_eq!(answered.len(), expected.len(), "{answer}");
    for (answered, expected) in answered.iter().zip(expected) {
        let score: f32 = serde_json::from_value(answered["score"].clone()).unwrap();
        let xyxy: [f32; 4] = serde_json::from_value(answered["box"].clone()).unwrap();
        let rle: Rle = serde_json::from_value(answered["segmentation"].clone()).unwrap();
        assert_eq!((score, xyxy), (expected.score, expected.bbox));
        assert_eq!(answered["area"], expected.mask.area());
        assert_eq!(Mask::from_rle(&rle).unwrap().iou(&expected.mask), Some(1.0));
    }
}

#[test]
fn a_picture_is_segmented_however_it_is_sent() {
    let server = Server::new(demo());
    let loaded = load(demo());
    let expected = found(&loaded, &Prompt::text("boat"), 0.5);
    assert_eq!(expected.len(), 3);
    let base64 = STANDARD.encode(scene());
    let (kind, fields) = form(&[("prompt", "boat")], Some(&scene()));
    let answers = [
        server.post("/v1/segment?prompt=boat", "image/png", scene()),
        server.post("/v1/segment?prompt=boat", "application/x-www-form-urlencoded", scene()),
        server.send(request("POST", "/v1/segment?prompt=boat", &[], scene())),
        server.post("/v1/segment", &kind, fields),
        server.post_json("/v1/segment", &json!({"image": base64, "prompts": ["boat"]})),
        server.post_json(
            "/v1/segment",
            &json!({"image": format!("data:image/png;base64,{}", base64.trim_end_matches('=')), "prompts": ["boat"]}),
        ),
    ];
    for answer in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        let json = answer.json();
        assert_eq!(json["prompts"][0]["prompt"], "boat");
        are(&json["prompts"][0]["instances"], &expected);
        let sha256 = sam3_package::sha256(&scene()[..]).unwrap();
        let image = json!({"file": "-", "sha256": sha256, "width": 672, "height": 672});
        assert_eq!(json["image"], image, "and no name of the client's");
        assert_eq!(json["model"]["id"], loaded.id());
        assert!(json["timings"]["encode_ms"].as_f64() > Some(0.0));
    }
}

#[test]
fn a_picture_is_looked_at_by_tiles() {
    let server = Server::new(demo());
    let loaded = load(demo());
    let tiling = Tiling::new(Tiles::Grid { columns: 2, rows: 3 }).overlap(0.25);
    let image = Image::decode(&scene()).unwrap();
    let expected = loaded
        .segmenter
        .segment_tiled(&image, &Prompt::text("boat"), &tiling)
        .unwrap();
    let base64 = STANDARD.encode(scene());
    let answers = [
        server.post("/v1/segment?prompt=boat&tiles=2x3&overlap=0.25", "image/png", scene()),
        server.post_json(
            "/v1/segment",
            &json!({"image": base64, "prompts": ["boat"], "tiles": "2x3", "overlap": 0.25}),
        ),
    ];
    for answer in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        are(&json["prompts"][0]["instances"], &expected);
        assert_eq!(json["tiling"], json!({"tiles": "2x3", "overlap": 0.25, "grid": [2, 3]}));
    }
    let side = json!({"image": base64, "prompts": ["boat"], "tiles": 700});
    assert_eq!(
        server.post_json("/v1/segment", &side).json()["tiling"]["grid"],
        json!([0, 0])
    );
    for (query, kind) in [
        ("tiles=0", "invalid_request"),
        ("tiles=many", "invalid_request"),
        ("overlap=0.3", "invalid_request"),
        ("tiles=2x2&overlap=0.9", "invalid_tiles"),
        ("tiles=5", "invalid_tiles"),
        ("tiles=17x17", "too_large"),
    ] {
        let answer = server.post(&format!("/v1/segment?prompt=boat&{query}"), "image/png", scene());
        assert_eq!(answer.json()["error"]["kind"], kind, "{query}: {answer:?}");
    }
    let id = server.post("/v1/images", "image/png", scene()).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = server.post_json(
        &format!("/v1/images/{id}/segment"),
        &json!({"prompts": ["boat"], "tiles": "auto"}),
    );
    answer.is_error(400, "invalid_request", "/v1/segment");
}

#[test]
fn prompts_boxes_threshold_size_and_masks_are_those_that_were_asked_for() {
    let server = Server::new(demo());
    let loaded = load(demo());
    let xyxy = [308.0, 49.0, 453.0, 199.0];
    let boxed = Prompt::text("boat").with_boxes([
        ExemplarBox::positive(xyxy),
        ExemplarBox::negative([10.0, 20.0, 80.0, 90.0]),
    ]);
    let expected = found(&loaded, &boxed, 0.125);
    let query = "/v1/segment?prompt=boat&box=308,49,453,199&box=10,20,80,90,0&threshold=0.125&masks=png";
    let answer = server.post(query, "image/png", scene()).json();
    are(&answer["prompts"][0]["instances"], &expected);
    assert_eq!(answer["threshold"], 0.125);
    assert_eq!(
        answer["prompts"][0]["boxes"][1],
        json!({"box": [10.0, 20.0, 80.0, 90.0], "label": 0})
    );
    let png = STANDARD
        .decode(answer["prompts"][0]["instances"][0]["png"].as_str().unwrap())
        .unwrap();
    assert_eq!(png, expected[0].mask.to_png());

    let body = json!({
        "image": STANDARD.encode(scene()), "prompts": ["boat", "a, b"], "masks": "polygons", "threshold": 0.125,
        "boxes": [xyxy, {"box": [10, 20, 80, 90], "label": 0}]
    });
    let answer = server.post_json("/v1/segment", &body).json();
    are(&answer["prompts"][0]["instances"], &expected);
    assert_eq!(answer["prompts"][1]["prompt"], "a, b", "JSON never splits");
    assert!(
        answer["prompts"][0]["instances"][0]["polygons"][0]
            .as_array()
            .unwrap()
            .len()
            > 6
    );
    assert_eq!(answer["prompts"][0]["instances"][0].get("png"), None);

    let only_boxes = server
        .post("/v1/segment?box=308,49,453,199", "image/png", scene())
        .json();
    assert_eq!(only_boxes["prompts"][0]["prompt"], "visual");
    are(
        &only_boxes["prompts"][0]["instances"],
        &found(&loaded, &Prompt::boxes([ExemplarBox::positive(xyxy)]), 0.5),
    );

    let size = loaded.segmenter.config().vit.image_sizes().next().unwrap();
    assert_ne!(size, loaded.segmenter.image_size());
    let answer = server
        .post(
            &format!("/v1/segment?prompt=boat&image_size={size}"),
            "image/png",
            scene(),
        )
        .json();
    assert_eq!(answer["model"]["image_size"], size);
    let smaller = Loaded::load(
        std::sync::Arc::new(sam3_package::StateDict::open(demo()).unwrap()),
        &sam3_model::Options::new(&sam3_model::Device::Cpu).image_size(size),
    );
    are(
        &answer["prompts"][0]["instances"],
        &found(&smaller.unwrap(), &Prompt::text("boat"), 0.5),
    );
}

#[test]
fn an_encoded_image_is_asked_about_again_and_let_go() {
    let server = Server::new(demo());
    let stored = server.post("/v1/images", "image/png", scene());
    assert_eq!(stored.status, 201);
    let json = stored.json();
    let id = json["id"].as_str().unwrap();
    assert_eq!(stored.header("location"), format!("/v1/images/{id}"));
    assert_eq!((&json["width"], &json["height"]), (&json!(672), &json!(672)));
    let encoded = load(demo())
        .segmenter
        .encode(&Image::decode(&scene()).unwrap())
        .unwrap();
    assert_eq!(json["bytes"], encoded.bytes());
    let loaded = load(demo());
    let path = format!("/v1/images/{id}/segment");
    for (body, prompt, threshold) in [
        (json!({"prompts": ["boat"]}), Prompt::text("boat"), 0.5),
        (
            json!({"prompts": ["boat"], "threshold": 0.25}),
            Prompt::text("boat"),
            0.25,
        ),
        (
            json!({"boxes": [[308, 49, 453, 199]]}),
            Prompt::boxes([ExemplarBox::positive([308.0, 49.0, 453.0, 199.0])]),
            0.5,
        ),
    ] {
        let answer = server.post_json(&path, &body).json();
        are(&answer["prompts"][0]["instances"], &found(&loaded, &prompt, threshold));
        assert_eq!(answer["timings"]["encode_ms"], 0.0);
        assert_eq!(answer["image"]["sha256"], json["sha256"]);
    }
    let info = server.get("/v1/info").json();
    assert_eq!(
        (&info["cache"]["images"], &info["cache"]["bytes"]),
        (&json!(1), &json["bytes"])
    );
    let remove = || server.send(request("DELETE", &format!("/v1/images/{id}"), &[], ""));
    assert_eq!(remove().status, 204);
    remove().is_error(404, "not_found", "no such image");
    server
        .post_json(&path, &json!({"prompts": ["boat"]}))
        .is_error(404, "not_found", "no such image");
    assert_eq!(server.get("/v1/info").json()["cache"]["bytes"], 0);
}

#[test]
fn images_leave_where_there_is_room_for_one_alone() {
    let mut settings = support::settings();
    let bytes = load(demo())
        .segmenter
        .encode(&Image::decode(&scene()).unwrap())
        .unwrap()
        .bytes();
    settings.cache = 2 * bytes;
    let server = Server::with(demo(), settings.clone());
    let ids = [(); 3].map(|()| server.encode(scene()));
    let status = |id: &str| {
        server
            .post_json(&format!("/v1/images/{id}/segment"), &json!({"prompts": ["boat"]}))
            .status
    };
    assert_eq!(
        [&ids[0], &ids[1], &ids[2]].map(|id| status(id).as_u16()),
        [404, 200, 200]
    );
    settings.cache = bytes - 1;
    let server = Server::with(demo(), settings);
    server
        .post("/v1/images", "image/png", scene())
        .is_error(503, "cache_too_small", "--cache-mb");
}

#[test]
fn clicks_are_answered_as_the_library_does_and_logits_are_taken_back() {
    let server = Server::new(&clickable());
    let loaded = load(&clickable());
    let model = &loaded.segmenter;
    let encoded = model.encode(&Image::decode(&picture()).unwrap()).unwrap();
    let path = format!("/v1/images/{}/click", server.encode(picture()));
    let check = |answer: &Value, clicks: &Clicks| {
        let expected = model.click(&encoded, clicks).unwrap();
        let instances: Vec<Instance> = expected
            .masks
            .iter()
            .map(|mask| {
                let bbox = mask.mask.bounding_box().unwrap_or_default().map(|side| side as f32);
                Instance::new(mask.iou, bbox, mask.mask.clone())
            })
            .collect();
        are(&answer["instances"], &instances);
        let score: f32 = serde_json::from_value(answer["instances"][0]["object_score"].clone()).unwrap();
        assert_eq!(score, expected.object_score);
        expected
    };
    let one = Clicks::new().point([107.5, 91.0]);
    let answer = server.post_json(&path, &json!({"objects": [{"points": [[107.5, 91]]}]}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let first = answer.json()["objects"][0].clone();
    let step = check(&first, &one);
    assert_eq!(
        first["clicks"]["points"][0],
        json!({"point": [107.5, 91.0], "label": 1})
    );

    let two = one
        .clone()
        .negative_point([192.0, 174.0])
        .mask(step.best().logits.clone());
    let body = json!({"objects": [
        {"points": [{"point": [107.5, 91]}, [192, 174, 0]], "logits": first["logits"]},
        {"box": [160, 34, 264, 146]},
    ]});
    let answer = server.post_json(&path, &body).json();
    check(&answer["objects"][0], &two);
    assert_eq!(answer["objects"][0]["clicks"]["mask"], first["logits"]);
    check(
        &answer["objects"][1],
        &Clicks::new().bounding_box([160.0, 34.0, 264.0, 146.0]),
    );
    let ids: Vec<&Value> = answer["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| &object["instances"][0]["id"])
        .collect();
    assert_eq!(ids, [1, 2]);

    let body = json!({"objects": [{"points": [[107.5, 91]]}], "multimask": true, "masks": "png"});
    let answer = server.post_json(&path, &body).json();
    let three = check(&answer["objects"][0], &one.multimask(true));
    let png = answer["objects"][0]["instances"][2]["png"].as_str().unwrap();
    assert_eq!(STANDARD.decode(png).unwrap(), three.masks[2].mask.to_png());
    let info = server.get("/v1/info").json();
    assert!(
        info["cache"]["bytes"].as_u64().unwrap() > encoded.bytes(),
        "logits are counted"
    );
    for (body, status, kind, words) in [
        (json!({"objects": []}), 400, "invalid_request", "nothing is clicked"),
        (json!({"objects": [{}]}), 400, "invalid_clicks", "nothing is clicked"),
        (
            json!({"objects": [{"points": [[107.5, 9100]]}]}),
            400,
            "invalid_request",
            "not inside",
        ),
        (
            json!({"objects": [{"points": [[-1, 2]]}]}),
            400,
            "invalid_request",
            "not inside",
        ),
        (
            json!({"objects": [{"points": [[1, 2, 7]]}]}),
            400,
            "invalid_request",
            "a label is 1",
        ),
        (
            json!({"objects": [{"points": [[1]]}]}),
            400,
            "invalid_request",
            "expected a point",
        ),
        (
            json!({"objects": [{"box": [0.1, 0.1, 0.5, 0.5]}]}),
            400,
            "invalid_request",
            "in pixels",
        ),
        (
            json!({"objects": [{"box": [50, 10, 20, 30]}]}),
            400,
            "invalid_request",
            "not inside",
        ),
        (
            json!({"objects": [{"points": [[1, 2]], "logits": "77"}]}),
            404,
            "not_found",
            "no such logits",
        ),
        (
            json!({"objects": vec![json!({"points": [[1, 2]]}); 17]}),
            413,
            "too_large",
            "at most 16",
        ),
        (
            json!({"objects": [{"points": vec![[1, 2]; 257]}]}),
            413,
            "too_large",
            "at most 256",
        ),
        (
            json!({"points": [[1, 2]]}),
            400,
            "invalid_request",
            "unknown field `points`",
        ),
    ] {
        server.post_json(&path, &body).is_error(status, kind, words);
    }
}

#[test]
fn a_model_without_clicks_says_so_and_tells_no_path() {
    let server = Server::new(demo());
    let id = server.encode(scene());
    let answer = server.post_json(
        &format!("/v1/images/{id}/click"),
        &json!({"objects": [{"points": [[5, 5]]}]}),
    );
    answer.is_error(400, "no_clicks", "takes no clicks");
    assert!(!String::from_utf8_lossy(&answer.body).contains("model.safetensors"));
    assert_eq!(
        server.get("/v1/info").json()["tasks"],
        json!({"segment": true, "click": false, "track": false})
    );
}

#[test]
fn the_server_tells_of_itself() {
    let server = Server::new(demo());
    assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
    assert_eq!(server.get("/ready").json(), json!({"status": "ready"}));
    server.post("/v1/segment?prompt=boat", "image/png", scene());
    server.post("/v1/segment?prompt=", "image/png", scene());
    server.get("/v1/images/secret/segment");
    let metrics = String::from_utf8(server.get("/metrics").body.to_vec()).unwrap();
    for line in [
        "sam3_request_seconds_count{method=\"POST\",route=\"/v1/segment\",status=\"200\"} 1\n",
        "sam3_request_seconds_count{method=\"POST\",route=\"/v1/segment\",status=\"400\"} 1\n",
        "sam3_request_seconds_count{method=\"GET\",route=\"/v1/images/{id}/segment\",status=\"405\"} 1\n",
        "sam3_images_encoded_total 1\n",
        "sam3_ready 1\n",
        "sam3_queue_capacity 32\n",
    ] {
        assert!(metrics.contains(line), "expected {line} in\n{metrics}");
    }
    assert!(!metrics.contains("secret"));
    let model = &server.get("/v1/info").json()["model"];
    assert_eq!(model["file"], "model.safetensors", "and no folder of this machine");
    server.model.stop();
    server.get("/ready").is_error(503, "stopping", "stopped");
    assert_eq!(server.get("/health").status, 200);
    server
        .post("/v1/segment?prompt=boat", "image/png", scene())
        .is_error(503, "stopping", "stopped");
}

#[test]
fn before_the_model_is_loaded_requests_are_told_to_come_again() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (model, thread) = sam3_server::Model::start(support::settings(), move || {
        let _ = wait.recv();
        Err::<Loaded, &str>("no such file")
    });
    let server = Server {
        runtime: tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap(),
        app: sam3_server::app(model.clone()),
        model,
    };
    for answer in [
        server.get("/ready"),
        server.get("/v1/info"),
        server.post("/v1/segment?prompt=boat", "image/png", scene()),
    ] {
        answer.is_error(503, "loading", "being loaded");
        assert_eq!(answer.header("retry-after"), "2");
    }
    assert_eq!(server.get("/health").status, 200);
    go.send(()).unwrap();
    assert_eq!(thread.join().unwrap(), Err("no such file"));
    server.get("/ready").is_error(503, "stopping", "");
}
