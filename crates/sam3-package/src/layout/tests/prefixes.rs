//! Prefixes that training puts before names, and what lies beside the model.

use super::*;

fn stripped(names: &[String]) -> prefix::Stripped {
    let raw: Vec<&str> = names.iter().map(String::as_str).collect();
    let unwrapped: Vec<String> = raw.iter().map(|name| prefix::unwrapped(name)).collect();
    prefix::strip(&unwrapped, &raw, None).unwrap_or_else(|sets| panic!("{sets:?}"))
}

#[test]
fn a_prefix_may_be_a_word_of_sam3() {
    for (names, is_theirs) in published().into_iter().zip([false, true, false, true]) {
        for prefix in [
            "",
            "backbone.",
            "detector.",
            "model.detector.",
            "student.backbone.",
            "transformer.",
            "model.segmentation_head.",
            "vision_encoder.",
            "tracker.",
            "module.backbone.module.",
            "geometry_encoder.",
            "detector_model.",
        ] {
            let prefixed: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
            let prefix::Stripped {
                names: found, warnings, ..
            } = stripped(&prefixed);
            assert_eq!(warnings, [] as [String; 0], "{prefix} before {}", names[0]);
            for (found, name) in found.iter().zip(&names) {
                let full = if is_theirs {
                    transformers::full_name
                } else {
                    official_name
                };
                assert_eq!(full(found.as_deref().unwrap()), full(name), "{prefix}");
            }
        }
    }
}

#[test]
fn prefixes_of_wrappers_alone_are_one_set() {
    for names in published() {
        for wrappers in [
            ["module.", "_orig_mod."],
            ["", "module."],
            ["_module.", "_fpw_module._orig_mod."],
            ["_forward_module.module.", ""],
        ] {
            let wrapped: Vec<String> = names
                .iter()
                .enumerate()
                .map(|(i, name)| format!("{}{name}", wrappers[i % 2]))
                .collect();
            let prefix::Stripped {
                names: found, warnings, ..
            } = stripped(&wrapped);
            assert_eq!(warnings, [] as [String; 0], "{wrappers:?}");
            assert!(found.iter().flatten().eq(&names), "{wrappers:?}");
        }
        // Where names collide, they are two sets.
        let twice: Vec<String> = ["module.", ""]
            .iter()
            .flat_map(|wrapper| names.iter().map(move |name| format!("{wrapper}{name}")))
            .collect();
        let two = stripped(&twice);
        assert!(two.warnings[0].contains("2 sets of weights"), "{:?}", two.warnings);
        assert_eq!(two.names.iter().flatten().count(), names.len());
    }
}

#[test]
fn training_prefixes_become_official() {
    for (raw, official) in [
        ("detector.backbone.x", "detector.backbone.x"),
        ("tracker.model.x", "tracker.model.x"),
        ("sam3_model.backbone.x", "detector.backbone.x"),
        ("sam2_predictor.x", "tracker.x"),
        ("sam2_predictor.model.x", "tracker.model.x"),
        ("backbone.x", "detector.backbone.x"),
        ("geometry_encoder.x", "detector.geometry_encoder.x"),
        ("module.segmentation_head.x", "detector.segmentation_head.x"),
        (
            "module._orig_mod.model.dot_prod_scoring.x",
            "detector.dot_prod_scoring.x",
        ),
        ("something.else", "something.else"),
        ("base_model.model.backbone.x", "detector.backbone.x"),
        ("state_dict.model.module.detector.backbone.x", "detector.backbone.x"),
        ("ema_model.tracker.model.x", "tracker.model.x"),
        (
            "detector._fsdp_wrapped_module.backbone._checkpoint_wrapped_module.x",
            "detector.backbone.x",
        ),
        ("_forward_module.sam3_model._orig_mod.backbone.x", "detector.backbone.x"),
        ("detector.module.backbone.x", "detector.backbone.x"),
    ] {
        let state = StateDict::open(&file("prefix", &[(raw, &[1])], None)).unwrap();
        assert_eq!(
            (names(&state), state.layout()),
            (vec![official], Layout::Official),
            "{raw}"
        );
    }
}

#[test]
fn what_has_no_part_in_the_model_is_left_out_and_told() {
    let tensors: &[(&str, &[usize])] = &[
        ("n_averaged", &[]),
        ("module.backbone.x", &[1]),
        ("module.transformer.y", &[1]),
        ("module.segmentation_head.z", &[1]),
        ("tracker.t", &[1]),
        ("criterion.backbone.w", &[1]),
        ("optimizer.exp_avg", &[1]),
    ];
    let state = StateDict::open(&file("odd", tensors, None)).unwrap();
    let official = [
        "detector.backbone.x",
        "detector.segmentation_head.z",
        "detector.transformer.y",
        "tracker.t",
    ];
    assert_eq!(names(&state), official);
    let warning = state.warnings().join("\n");
    let told = [
        "left out",
        "\"module.\"",
        "criterion.backbone.w, n_averaged, optimizer.exp_avg",
    ];
    assert!(told.iter().all(|words| warning.contains(words)), "{warning}");
}

#[test]
fn of_two_prefixes_the_models_own_is_taken_or_the_one_asked_for() {
    let tensors: &[(&str, &[usize])] = &[
        ("ema_model.backbone.x", &[1]),
        ("ema_model.transformer.y", &[2]),
        ("ema_model.transformer.z", &[2]),
        ("model.backbone.x", &[3]),
        ("model.transformer.y", &[4]),
    ];
    let path = file("sets", tensors, None);
    let shape = |wanted| {
        let state = StateDict::open_weights(&path, wanted).unwrap();
        let x = state.position("detector.backbone.x").unwrap();
        (state.info(x).shape.to_vec(), state.len(), state.warnings().join("\n"))
    };
    let (own, len, warning) = shape(None);
    assert_eq!((own, len), (vec![3], 2));
    assert!(warning.contains("\"model\" was taken, not \"ema_model\""), "{warning}");
    assert_eq!(StateDict::open(&path).unwrap().other_weights(), ["ema_model"]);
    let (average, len, warning) = shape(Some("ema_model"));
    assert_eq!((average, len, warning.as_str()), (vec![1], 3, ""));
    let error = StateDict::open_weights(&path, Some("teacher")).unwrap_err();
    let Error::NoSuchWeights { wanted, sets, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (wanted.as_str(), &sets[..]),
        ("teacher", &["ema_model".to_owned(), "model".to_owned()][..])
    );

    // Without a prefix, another copy is left out all the same.
    let tensors: &[(&str, &[usize])] = &[("backbone.x", &[1]), ("teacher.backbone.x", &[1])];
    let state = StateDict::open(&file("copy", tensors, None)).unwrap();
    assert_eq!(names(&state), ["detector.backbone.x"]);
    assert_eq!(state.other_weights(), ["teacher"]);
    let lone = file("lone", &[("backbone.x", &[1])], None);
    let error = StateDict::open_weights(&lone, Some("ema")).unwrap_err().to_string();
    assert!(error.contains("one set of weights"), "{error}");
}
