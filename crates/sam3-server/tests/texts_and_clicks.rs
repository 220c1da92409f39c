//! Videos of a text and of clicks: new objects beside the text's, and clicks that correct what the text found.

mod support;

use base64::{Engine, engine::general_purpose::STANDARD};
use sam3_model::{
    Clicks, Session, VideoOptions,
    image::Image,
    tracking::{Emission, FrameObject},
};
use serde_json::{Value, json};
use support::{
    Answer, Server, load, request,
    videos::{answered, begin, expected, large_frame, speaking, words},
};

/// A video on the server, and the same one by the library.
struct Both {
    server: Server,
    video: String,
    session: Session,
}

impl Both {
    fn begin(words: &str) -> Self {
        let server = Server::new(&speaking());
        let video = begin(&server, &json!({"prompts": [words], "at_once": true}));
        let options = VideoOptions::new().emission(Emission::AtOnce);
        let mut session = load(&speaking()).segmenter.video(options).unwrap();
        session.text(words).unwrap();
        Self { server, video, session }
    }

    fn send(&self, number: usize, objects: &Value) -> Answer {
        let body = json!({"image": STANDARD.encode(large_frame(number)), "objects": objects});
        self.server.post_json(&format!("{}/frames", self.video), &body)
    }

    fn prompt(&self, body: &Value) -> Answer {
        self.server.post_json(&format!("{}/prompts", self.video), body)
    }

    fn remove(&self, id: u32) -> u16 {
        let path = format!("{}/objects/{id}", self.video);
        self.server.send(request("DELETE", &path, &[], "")).status.as_u16()
    }

    /// The next frame of both, which is the same; the server's answer.
    fn follow(&mut self, number: usize, objects: &Value) -> Value {
        let answer = self.send(number, objects).json();
        assert_eq!(answer["frame"], number, "{answer}");
        let pushed = self.session.push(&image(number)).unwrap();
        assert_eq!(answered(&answer["frames"]), expected(&pushed), "frame {number}");
        answer
    }
}

fn image(number: usize) -> Image {
    Image::decode(&large_frame(number)).unwrap()
}

#[track_caller]
fn is_as(answer: &Value, object: &FrameObject, prompt: &str) {
    assert_eq!((&answer["id"], &answer["prompt"]), (&json!(object.id), &json!(prompt)));
    assert_eq!(answer["score"], object.score);
    let mask = serde_json::to_value(object.mask.to_rle()).unwrap();
    assert_eq!(answer["segmentation"], mask);
}

#[test]
fn a_text_and_clicks_are_followed_as_by_a_session() {
    let words = words();
    let mut both = Both::begin(&words);
    let first = both.follow(0, &json!([]));
    let named = first["frames"][0]["objects"].as_array().unwrap();
    assert!(!named.is_empty() && named.iter().all(|object| object["prompt"] == words.as_str()));
    // A new object on a frame that the text looks through.
    let point = Clicks::new().point([100.0, 100.0]);
    both.session.look(1, &image(1)).unwrap();
    let own = both.session.click(None, &point).unwrap();
    let answer = both.follow(1, &json!([{"points": [[100, 100]]}]));
    is_as(&answer["clicked"][0], &own, "object 1");
    both.follow(2, &json!([]));

    // One that the text found, corrected where it was followed to; and once more, from that mask.
    let found = both.session.objects()[1];
    assert!(found != own.id);
    let mut masks = Vec::new();
    for (body, clicks) in [
        (json!([40, 40]), Clicks::new().point([40.0, 40.0])),
        (json!([40, 40, 0]), Clicks::new().negative_point([40.0, 40.0])),
    ] {
        let answer = both
            .prompt(&json!({"objects": [{"id": found, "points": [body]}]}))
            .json();
        let corrected = both.session.click(Some(found), &clicks).unwrap();
        assert_eq!((&answer["frame"], corrected.score), (&json!(2), 1.0));
        is_as(&answer["clicked"][0], &corrected, &words);
        masks.push(corrected.mask);
    }
    assert!(masks[0] != masks[1]);
    both.follow(3, &json!([]));

    // Both kinds at once, and another text.
    let objects =
        json!([{"id": own.id, "points": [[90, 100]]}, {"id": found, "points": [[50, 40]]}, {"box": [10, 10, 90, 90]}]);
    let answer = both.prompt(&json!({"prompts": ["b"], "objects": objects})).json();
    assert_eq!(answer["prompts"], json!([words, "b"]));
    both.session.text("b").unwrap();
    let shown = [
        (Some(own.id), Clicks::new().point([90.0, 100.0]), "object 1"),
        (Some(found), Clicks::new().point([50.0, 40.0]), &*words),
        (None, Clicks::new().bounding_box([10.0, 10.0, 90.0, 90.0]), "object 2"),
    ];
    for (place, (id, clicks, prompt)) in shown.into_iter().enumerate() {
        let object = both.session.click(id, &clicks).unwrap();
        is_as(&answer["clicked"][place], &object, prompt);
    }
    both.follow(4, &json!([]));
    both.follow(5, &json!([]));

    // What the text found may be removed, as what was clicked.
    for id in [found, own.id] {
        assert_eq!((both.remove(id), both.session.remove(id).unwrap()), (204, true));
        assert_eq!(both.remove(id), 404);
        let again = json!([{"id": id, "points": [[40, 40]]}]);
        both.prompt(&json!({"objects": again}))
            .is_error(400, "invalid_request", "is followed no more");
        both.send(6, &again)
            .is_error(400, "invalid_request", "is followed no more");
    }
    both.follow(6, &json!([]));
}

#[test]
fn what_a_text_found_is_not_shown_on_a_frame_that_it_was_not_followed_to() {
    let mut both = Both::begin(&words());
    both.follow(0, &json!([]));
    let found = both.session.objects()[1];
    let shown = json!([{"points": [[100, 100]]}, {"id": found, "points": [[40, 40]]}]);
    both.send(1, &shown)
        .is_error(400, "invalid_request", "by the video's prompts");
    // Nothing of that was shown: where it was followed to, both can be.
    both.follow(1, &json!([]));
    let answer = both.prompt(&json!({"objects": shown})).json();
    assert_eq!(answer["clicked"][0]["prompt"], "object 1", "{answer}");
    assert_eq!(answer["clicked"][1]["id"], found);
}
