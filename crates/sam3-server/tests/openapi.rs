//! `/openapi.json` against the routes: each takes and answers what is written there.

mod support;

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use support::{Server, clickable, demo, form, frame, picture, request, scene};

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

fn document(server: &Server) -> Value {
    let document = server.get("/openapi.json").json();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    document
}

/// A place in the document, such as `/components/schemas/Info`.
fn at<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference}")),
        None => schema,
    }
}

#[test]
fn every_route_and_method_is_described_and_none_that_is_not_there() {
    let server = Server::new(demo());
    let document = document(&server);
    let paths = document["paths"].as_object().unwrap();
    for (path, described) in paths {
        let real = path
            .replace("{id}", "x")
            .replace("{name}", "x")
            .replace("{object}", "1");
        for method in METHODS {
            let answer = server.send(request(&method.to_uppercase(), &real, &[], ""));
            let is_taken = answer.status != 405
                && !(answer.status == 404
                    && answer.json()["error"]["message"]
                        .as_str()
                        .unwrap()
                        .contains("describes"));
            assert_eq!(
                is_taken,
                described.get(method).is_some(),
                "{method} {path}: {}",
                answer.status
            );
            if let Some(described) = described.get(method) {
                let status = answer.status.as_str();
                assert!(
                    described["responses"].get(status).is_some(),
                    "{method} {path} answers {status}"
                );
            }
        }
    }
    let source = include_str!("../src/routes.rs");
    let routes: BTreeSet<&str> = source
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let described: BTreeSet<&str> = paths
        .keys()
        .map(String::as_str)
        .filter(|path| !path.starts_with("/page"))
        .collect();
    assert_eq!(
        routes
            .into_iter()
            .filter(|path| !path.starts_with("/page") && *path != "/")
            .collect::<BTreeSet<_>>(),
        described
    );
}

/// Complaints about a value that is not as its schema says; properties that were seen go into `seen`.
fn check(document: &Value, schema: &Value, value: &Value, place: &str, seen: &mut BTreeSet<String>) {
    let schema = at(document, schema);
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    assert!(
        kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        "{place}: expected {}, found {value}",
        schema["type"]
    );
    if let Some(items) = schema.get("items") {
        for item in value.as_array().unwrap() {
            check(document, items, item, &format!("{place}[]"), seen);
        }
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{place} lacks {name}");
    }
    for (name, value) in value.as_object().unwrap() {
        let schema = properties
            .get(name)
            .unwrap_or_else(|| panic!("{place}.{name} is not described"));
        seen.insert(format!("{place}.{name}"));
        check(document, schema, value, &format!("{place}.{name}"), seen);
    }
}

#[test]
fn answers_are_as_described() {
    let (texts, clicks) = (Server::new(demo()), Server::new(&clickable()));
    let document = document(&texts);
    let mut seen = BTreeSet::new();
    let mut is = |schema: &str, value: &Value| {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        check(
            &document,
            &schema,
            value,
            schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap(),
            &mut seen,
        );
    };
    is("Status", &texts.get("/health").json());
    is("Status", &texts.get("/ready").json());
    is("Info", &texts.get("/v1/info").json());
    is("Error", &texts.get("/nothing").json());
    for query in ["prompt=boat&masks=polygons", "prompt=boat&box=308,49,453,199&masks=png"] {
        is(
            "Segmented",
            &texts.post(&format!("/v1/segment?{query}"), "image/png", scene()).json(),
        );
    }
    let stored = clicks.post("/v1/images", "image/png", picture()).json();
    is("Image", &stored);
    let path = format!("/v1/images/{}/click", stored["id"].as_str().unwrap());
    let first = clicks
        .post_json(
            &path,
            &json!({"objects": [{"points": [[107, 91]]}], "masks": "polygons"}),
        )
        .json();
    is("Clicked", &first);
    let again =
        json!({"objects": [{"box": [60, 40, 200, 200], "logits": first["objects"][0]["logits"]}], "masks": "png"});
    is("Clicked", &clicks.post_json(&path, &again).json());
    let begun = clicks.post_json("/v1/videos", &json!({})).json();
    is("Video", &begun);
    let video = format!("/v1/videos/{}", begun["id"].as_str().unwrap());
    // A click that finds something on this frame.
    let objects = json!([{"points": [[120.016, 92.676]]}]);
    let frame = json!({"image": STANDARD.encode(frame(0)), "objects": objects});
    is(
        "FrameAnswer",
        &clicks.post_json(&format!("{video}/frames"), &frame).json(),
    );
    let prompts = json!({"objects": objects});
    is(
        "PromptsAnswer",
        &clicks.post_json(&format!("{video}/prompts"), &prompts).json(),
    );
    is("Rest", &clicks.post(&format!("{video}/finish"), "", "").json());
    for place in [
        "FrameAnswer.frames[].objects[].segmentation",
        "FrameAnswer.clicked[].iou",
        "PromptsAnswer.frame",
        "Segmented.prompts[].instances[].polygons",
        "Segmented.prompts[].instances[].png",
        "Segmented.prompts[].boxes[].label",
        "Clicked.objects[].clicks.mask",
        "Clicked.objects[].instances[].iou",
        "Info.limits.pixels",
    ] {
        assert!(seen.contains(place), "{place} was not seen: {seen:#?}");
    }
}

/// The fields that a refusal of an unknown one lists.
fn expected_fields(message: &str) -> BTreeSet<String> {
    let list = message.split("expected").nth(1).unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn requests_have_the_fields_that_are_described() {
    let server = Server::new(&clickable());
    let document = document(&server);
    let id = server.encode(picture());
    let (segment, click) = (format!("/v1/images/{id}/segment"), format!("/v1/images/{id}/click"));
    let unknown = json!({"no_such_field": 1});
    let in_object = json!({"objects": [unknown]});
    for (schema, path, body) in [
        ("SegmentRequest", "/v1/segment", &unknown),
        ("ImageRequest", "/v1/images", &unknown),
        ("ClickRequest", &click, &unknown),
        ("ObjectClicks", &click, &in_object),
        ("VideoRequest", "/v1/videos", &unknown),
        ("FrameRequest", "/v1/videos/x/frames", &unknown),
        ("PromptsRequest", "/v1/videos/x/prompts", &unknown),
        ("VideoObject", "/v1/videos/x/prompts", &in_object),
    ] {
        let described = document["components"]["schemas"][schema]["properties"]
            .as_object()
            .unwrap();
        let described: BTreeSet<String> = described.keys().cloned().collect();
        let answer = server.post_json(path, body).json();
        assert_eq!(
            expected_fields(answer["error"]["message"].as_str().unwrap()),
            described,
            "{schema}"
        );
    }
    // The same but for what is of the picture.
    let schemas = &document["components"]["schemas"];
    let fields = |schema: &str| {
        schemas[schema]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let mut of_image = fields("SegmentRequest");
    for (field, value) in [
        ("image", json!("AA")),
        ("image_size", json!(7)),
        ("tiles", json!("auto")),
        ("overlap", json!(0.1)),
    ] {
        of_image.remove(field);
        let answer = server.post_json(&segment, &json!({field: value}));
        answer.is_error(400, "invalid_request", if field == "overlap" { "tiles" } else { field });
    }
    assert_eq!(of_image, fields("ImageSegmentRequest"));
    // Forms and queries name theirs by themselves.
    let listed = |answer: support::Answer| {
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        let list = message.split("expected ").nth(1).unwrap().replace(" or ", ", ");
        list.split(", ").map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let query = listed(server.post("/v1/segment?no_such_field=1", "image/png", picture()));
    let parameters = document["paths"]["/v1/segment"]["post"]["parameters"]
        .as_array()
        .unwrap();
    assert_eq!(
        parameters
            .iter()
            .map(|own| own["name"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>(),
        query
    );
    let (kind, body) = form(&[("no_such_field", "1")], Some(&picture()));
    let mut of_form = listed(server.post("/v1/segment", &kind, body.clone()));
    of_form.insert("image".to_owned());
    assert_eq!(of_form, fields("SegmentForm"));
    assert_eq!(
        listed(server.post("/v1/videos/x/frames", &kind, body)),
        fields("FrameForm")
    );
    let taken = json!({"image": STANDARD.encode(picture()), "image_size": 224});
    assert_ne!(
        server.post_json("/v1/images", &taken).json()["error"]["kind"],
        "invalid_request"
    );
}
