//! What a caller asks for.

/// What to look for: a text, example boxes, or both.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Prompt {
    /// A noun phrase; `None` asks for what the boxes show.
    pub text: Option<String>,
    /// Examples in the same image.
    pub boxes: Vec<ExemplarBox>,
}

impl Prompt {
    /// What a noun phrase means.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// What examples in the same image show.
    pub fn boxes(boxes: impl Into<Vec<ExemplarBox>>) -> Self {
        Self::default().with_boxes(boxes)
    }

    /// The same with these examples.
    pub fn with_boxes(mut self, boxes: impl Into<Vec<ExemplarBox>>) -> Self {
        self.boxes = boxes.into();
        self
    }
}

/// A box around an example.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExemplarBox {
    /// `x1, y1, x2, y2` in pixels of the image.
    pub xyxy: [f32; 4],
    /// An example of what is meant, or of what is not.
    pub positive: bool,
}

impl ExemplarBox {
    /// Around what is meant; `x1, y1, x2, y2` in pixels.
    pub fn positive(xyxy: [f32; 4]) -> Self {
        Self { xyxy, positive: true }
    }

    /// Around what is not meant; `x1, y1, x2, y2` in pixels.
    pub fn negative(xyxy: [f32; 4]) -> Self {
        Self { xyxy, positive: false }
    }
}
