//! What a config states, and what is said of it where it is wrong.

use serde_json::{Value, json};

use super::*;

fn check<T: PartialEq + std::fmt::Debug>(
    field: Value,
    read: impl Fn(&Stated<'_>) -> Result<Option<T>, String>,
    expected: Result<T, &str>,
) {
    let config = json!({"a": {"b": field}});
    match (read(&Stated::of(Some(&config))), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, Some(expected)),
        (Err(error), Err(words)) => {
            assert!(
                error.starts_with("a.b of its config") && error.contains(words),
                "{error}"
            );
        }
        (found, expected) => panic!("{config}: expected {expected:?}, found {found:?}"),
    }
}

#[test]
fn numbers_have_a_least_and_a_most() {
    let of_five = "expected a whole number from 1 to 5";
    for (field, expected) in [
        (json!(1), Ok(1)),
        (json!(5), Ok(5)),
        (json!(0), Err(of_five)),
        (json!(6), Err(of_five)),
        (json!(-1), Err(of_five)),
        (json!(2.5), Err(of_five)),
        (json!("4"), Err(of_five)),
        (json!([4]), Err(of_five)),
    ] {
        check(field, |stated| stated.number("a.b", 5), expected);
    }
}

#[test]
fn a_side_is_a_number_or_a_pair_of_equals() {
    let of_nine = "expected the side of a square, a whole number from 1 to 9";
    for (field, expected) in [
        (json!(9), Ok(9)),
        (json!([7, 7]), Ok(7)),
        (json!([7, 8]), Err(of_nine)),
        (json!([7]), Err(of_nine)),
        (json!([7, 7, 7]), Err(of_nine)),
        (json!(10), Err(of_nine)),
        (json!(0), Err(of_nine)),
    ] {
        check(field, |stated| stated.side("a.b", 9), expected);
    }
}

#[test]
fn indices_are_distinct_and_below_an_end() {
    let below = "expected a list of distinct whole numbers below 4";
    for (field, expected) in [
        (json!([3, 0]), Ok(vec![0, 3])),
        (json!([]), Ok(vec![])),
        (json!([1, 1]), Err(below)),
        (json!([4]), Err(below)),
        (json!(3), Err(below)),
    ] {
        check(field, |stated| stated.indices("a.b", 4), expected);
    }
}

#[test]
fn a_fraction_is_neither_nothing_nor_all() {
    for (field, expected) in [
        (json!(0.25), Ok(0.25)),
        (json!(0), Err("expected a number between 0 and 1, found 0")),
        (json!(1), Err("expected a number between 0 and 1, found 1")),
        (json!("0.5"), Err("found \"0.5\"")),
    ] {
        check(field, |stated| stated.fraction("a.b"), expected);
    }
}

#[test]
fn what_is_not_stated_is_no_fault() {
    for config in [
        json!({}),
        json!({"a": null}),
        json!({"a": {"b": null}}),
        json!({"a": {}}),
    ] {
        let stated = Stated::of(Some(&config));
        assert_eq!(stated.number("a.b", 5), Ok(None));
        assert_eq!(stated.agrees("a.b", 5), Ok(()));
    }
    assert_eq!(Stated::of(None).number("a.b", 5), Ok(None));
    let config = json!({"a": 3});
    let error = Stated::of(Some(&config)).number("a.b", 5).unwrap_err();
    assert!(error.contains("expected an object around it, found 3"), "{error}");
}

#[test]
fn tensors_have_to_agree() {
    let config = json!({"a": 3});
    let stated = Stated::of(Some(&config));
    assert_eq!(stated.agrees("a", 3), Ok(()));
    let error = stated.agrees("a", 4).unwrap_err();
    assert!(error.contains("expected 4, as in the tensors, found 3;"), "{error}");
}

#[test]
fn what_was_found_is_cut_where_it_is_long() {
    for (length, shown) in [(58, "x\";"), (59, "x…;"), (1000, "x…;")] {
        let config = json!({"a": "x".repeat(length)});
        let error = Stated::of(Some(&config)).number("a", 5).unwrap_err();
        assert!(error.contains(shown), "{length}: {error}");
        assert!(error.len() < 300);
    }
}
