//! Bodies of requests: JSON, forms and pictures as clients of the server send them.

use std::{fs, path::Path};

/// Real bodies of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let form = "--edge\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nboat\r\n--edge\r\nContent-Disposition: form-data; \
                name=\"image\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\u{89}PNG\r\n--edge--\r\n";
    let segment = r#"{"image":"data:image/png;base64,iVBORw0KGgo=","prompts":["boat","a \"red\" car"],"boxes":[[1,2,3.5,4],{"box":[1,2,3,4],"label":0}],"threshold":0.25,"image_size":672,"refine":true,"masks":"png"}"#;
    let click = r#"{"objects":[{"points":[[1,2],[3,4,0],{"point":[5,6],"label":1}],"box":[1,2,30,40],"logits":"7"}],"multimask":true,"masks":"polygons"}"#;
    let frame = r#"{"image":"iVBORw0KGgo=","objects":[{"id":4,"points":[[1,2],[3,4,0]]},{"box":[1,2,30,40]}]}"#;
    let video = r#"{"prompts":["boat"],"at_once":true,"frames":24,"memory_dtype":"f32","image_size":672}"#;
    let prompts = r#"{"prompts":["boat"],"objects":[{"id":4,"points":[{"point":[5,6],"label":1}]}]}"#;
    [form, segment, click, frame, video, prompts]
        .map(|text| text.as_bytes().to_vec())
        .into()
}

/// Whether any route would take it.
pub fn try_open(path: &Path) -> bool {
    let bytes = fs::read(path).expect("it was just written");
    let kinds = ["application/json", "multipart/form-data; boundary=edge", "image/png"];
    // Every kind of reader looks at every body.
    kinds.map(|kind| sam3_server::fuzz_body(kind, &bytes)).contains(&true)
}
