//! Which part of the model an official name belongs to, for counts and sizes.

use std::fmt;

/// A part of SAM 3, as `docs` and the metadata count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Component {
    Vit,
    Neck,
    Text,
    Geometry,
    FusionEncoder,
    Decoder,
    Scoring,
    MaskHead,
    /// FPN levels that only the tracker and click prompts read.
    TrackerNeck,
    Tracker,
    /// What the text encoder made of some prompts, in place of it.
    BakedPrompts,
    Other,
}

/// First match wins. SAM 3.1 has `propagation_convs` and `interactive_convs` where SAM 3 has `sam2_convs`.
const PREFIXES: [(&str, Component); 13] = [
    ("detector.backbone.vision_backbone.trunk.", Component::Vit),
    ("detector.backbone.vision_backbone.convs.", Component::Neck),
    ("detector.backbone.vision_backbone.sam2_convs.", Component::TrackerNeck),
    (
        "detector.backbone.vision_backbone.propagation_convs.",
        Component::TrackerNeck,
    ),
    (
        "detector.backbone.vision_backbone.interactive_convs.",
        Component::TrackerNeck,
    ),
    ("detector.backbone.language_backbone.", Component::Text),
    ("detector.geometry_encoder.", Component::Geometry),
    ("detector.transformer.encoder.", Component::FusionEncoder),
    ("detector.transformer.decoder.", Component::Decoder),
    ("detector.dot_prod_scoring.", Component::Scoring),
    ("detector.segmentation_head.", Component::MaskHead),
    ("tracker.", Component::Tracker),
    ("baked_prompts.", Component::BakedPrompts),
];

/// True for keys of an official checkpoint that its image detector never reads, `freqs_cis` aside.
pub fn is_unused_for_images(name: &str) -> bool {
    const PREFIXES: [&str; 3] = [
        // The fourth neck level is computed and dropped (`scalp=1`).
        "detector.backbone.vision_backbone.convs.3.",
        "detector.backbone.language_backbone.encoder.text_projection",
        "detector.geometry_encoder.points_",
    ];
    // The pixel decoder is built with a third stage that three feature levels never reach.
    const PIXEL_DECODER: [&str; 2] = ["conv_layers.2.", "norms.2."];
    matches!(Component::of(name), Component::Tracker | Component::TrackerNeck)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name
            .strip_prefix("detector.segmentation_head.pixel_decoder.")
            .is_some_and(|rest| PIXEL_DECODER.iter().any(|stage| rest.starts_with(stage)))
}

/// True for keys of an official checkpoint that clicks and the tracker never read, `freqs_cis` aside.
pub fn is_unused_for_clicks(name: &str) -> bool {
    // The fourth neck level, as the detector's.
    name.starts_with("detector.backbone.vision_backbone.sam2_convs.3.")
        || !(Component::of(name) == Component::Vit || Component::of(name).is_tracker())
}

/// What a file's model can be asked, by the names of its tensors: whether all of them are there is known when it is
/// loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Texts and example boxes.
    pub texts: bool,
    /// Clicks.
    pub clicks: bool,
    /// Its tracker is that of SAM 3.1, which takes clicks by other layers.
    pub is_sam31: bool,
}

impl Tasks {
    /// Of the tensors of these official names.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        const SAM31: [&str; 2] = [
            "detector.backbone.vision_backbone.propagation_convs.",
            "detector.backbone.vision_backbone.interactive_convs.",
        ];
        let mut tasks = Self::default();
        let mut has_tracker = false;
        for name in names {
            tasks.is_sam31 |= SAM31.iter().any(|prefix| name.starts_with(prefix));
            match Component::of(name) {
                Component::Tracker | Component::TrackerNeck => has_tracker = true,
                Component::Vit | Component::Other => {}
                _ => tasks.texts = true,
            }
        }
        tasks.clicks = has_tracker && !tasks.is_sam31;
        tasks
    }

    /// Whether there is no detector beside what takes clicks.
    pub fn is_for_clicks_alone(self) -> bool {
        self.clicks && !self.texts
    }
}

impl Component {
    /// Every part, in the order the image passes through them.
    pub const ALL: [Self; 12] = [
        Self::Vit,
        Self::Neck,
        Self::Text,
        Self::Geometry,
        Self::FusionEncoder,
        Self::Decoder,
        Self::Scoring,
        Self::MaskHead,
        Self::TrackerNeck,
        Self::Tracker,
        Self::BakedPrompts,
        Self::Other,
    ];

    /// The part an official name belongs to.
    pub fn of(name: &str) -> Self {
        PREFIXES
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))
            .map_or(Self::Other, |&(_, part)| part)
    }

    /// True for what only clicks and video need.
    pub fn is_tracker(self) -> bool {
        matches!(self, Self::TrackerNeck | Self::Tracker)
    }

    /// The name used in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vit => "vit",
            Self::Neck => "neck",
            Self::Text => "text",
            Self::Geometry => "geometry",
            Self::FusionEncoder => "fusion_encoder",
            Self::Decoder => "decoder",
            Self::Scoring => "scoring",
            Self::MaskHead => "mask_head",
            Self::TrackerNeck => "tracker_neck",
            Self::Tracker => "tracker",
            Self::BakedPrompts => "baked_prompts",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Component, Tasks, is_unused_for_clicks};

    /// Metadata of every version has them.
    #[test]
    fn parts_have_the_names_that_metadata_counts_them_by() {
        let names = Component::ALL.map(|part| part.to_string()).join(" ");
        assert_eq!(
            names,
            "vit neck text geometry fusion_encoder decoder scoring mask_head tracker_neck tracker baked_prompts other"
        );
    }

    #[test]
    fn names_tell_what_a_file_can_be_asked() {
        const VIT: &str = "detector.backbone.vision_backbone.trunk.ln_pre.weight";
        const TEXTS: &str = "detector.dot_prod_scoring.hs_proj.weight";
        const NECK: &str = "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.weight";
        const TRACKER: &str = "tracker.no_mem_embed";
        const SAM31: &str = "detector.backbone.vision_backbone.interactive_convs.0.conv_1x1.weight";
        let tasks = |names: &[&str]| {
            let tasks = Tasks::of(names.iter().copied());
            ([tasks.texts, tasks.clicks, tasks.is_sam31], tasks.is_for_clicks_alone())
        };
        assert_eq!(tasks(&[VIT, TEXTS]), ([true, false, false], false));
        assert_eq!(tasks(&[VIT, TEXTS, NECK, TRACKER]), ([true, true, false], false));
        assert_eq!(
            tasks(&[VIT, NECK, TRACKER, "criterion.weight"]),
            ([false, true, false], true)
        );
        assert_eq!(tasks(&[VIT, TEXTS, SAM31, TRACKER]), ([true, false, true], false));
        assert_eq!(tasks(&[VIT]), ([false; 3], false));
        let fourth = "detector.backbone.vision_backbone.sam2_convs.3.conv_1x1.weight";
        let unused = [VIT, TEXTS, NECK, TRACKER, fourth].map(is_unused_for_clicks);
        assert_eq!(unused, [false, true, false, false, true]);
    }
}
