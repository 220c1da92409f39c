//! The tokenizer against the official one, on the prompts of `tools/tokenizer_reference.py`.

use sam3_model::tokenizer::Tokenizer;

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    /// All 32 of them.
    ids: Vec<u32>,
}

#[test]
fn ids_are_the_official_ones() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/tokens.json")).unwrap();
    let tokenizer = Tokenizer::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let found = tokenizer.encode(&case.text).ids;
        if found[..] != case.ids {
            wrong.push(format!(
                "{:?}\n  expected {:?}\n  found    {found:?}",
                case.text, case.ids
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
