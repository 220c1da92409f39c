//! Objects are found again on a frame by what is remembered of them, and the frame is remembered (official
//! `track_step`).

use sam3_tensor::{
    Tensor,
    ops::{interpolate, sigmoid},
};

use super::{
    OnFrame, Predictor, Retention,
    bank::{Record, Remembered, Selection, pointers},
    state::{InferenceState, Visited},
};
use crate::{
    Result,
    model::MemoryTokens,
    tracking::{Direction, Tracked, Visit},
};

impl OnFrame<'_> {
    /// Follows the objects of a state to this frame and remembers it; returns them in their order. On a conditioning
    /// frame they are returned as they were shown.
    ///
    /// # Errors
    /// When the model's answer is no number, memory runs out or the device fails.
    ///
    /// # Panics
    /// When the state has prompts that are not committed, or the frame is a conditioning frame that
    /// [`Retention`](super::Retention) let go of.
    pub fn track(&self, state: &mut InferenceState, direction: Direction) -> Result<Vec<Tracked>> {
        let tracked = self.propagate(state, direction)?;
        let is_cond = state.bank.cond(self.frame.index).is_some();
        if !is_cond {
            self.remember_tracked(state)?;
        }
        self.leave(state);
        Ok(tracked)
    }

    /// The same without remembering the frame yet.
    pub(super) fn propagate(&self, state: &mut InferenceState, direction: Direction) -> Result<Vec<Tracked>> {
        assert!(
            state.temporary.is_empty(),
            "prompts are committed before objects are followed on"
        );
        let visit = Visit {
            frame: self.frame.index,
            direction,
        };
        let (tracked, low_res) = match state.bank.cond(visit.frame) {
            Some(record) => again(record)?,
            None => self.find(state, visit)?,
        };
        state.visited = Some(Visited { visit, low_res });
        Ok(tracked)
    }

    fn find(&self, state: &mut InferenceState, visit: Visit) -> Result<(Vec<Tracked>, Vec<Tensor>)> {
        let predictor = self.predictor;
        let selection = state.bank.select(visit, predictor.options.frames);
        let (mut found, mut objects) = (Vec::new(), Vec::new());
        for place in 0..state.ids.len() {
            let tokens = predictor.tokens(state, &selection, place)?;
            let head = {
                let image = match &tokens {
                    Some(tokens) => predictor.model.condition(self.start()?, tokens, &predictor.tables)?,
                    None => predictor.model.tracker().without_memory(&self.frame.features)?,
                };
                let tracker = predictor.model.tracker();
                predictor.head(&tracker.decode_unclicked(&self.frame.features, &image, None)?, true)?
            };
            objects.push(Remembered {
                score: head.tracked.object_score,
                iou: head.tracked.iou.unwrap_or_default(),
                pointer: head.pointer,
                low_res: Some(head.low_res.clone()),
                memory: None,
            });
            found.push((head.tracked, head.low_res));
        }
        state.bank.track(visit.frame, Record { objects });
        Ok(found.into_iter().unzip())
    }

    /// Remembers the masks that were found.
    fn remember_tracked(&self, state: &mut InferenceState) -> Result<()> {
        let (predictor, side) = (self.predictor, self.predictor.image_side());
        let pix_feat = self.pix_feat()?;
        let record = state.bank.get_mut(self.frame.index).expect("it was just tracked");
        for object in &mut record.objects {
            let low_res = object.low_res.as_ref().expect("it was just found");
            let shares = to_memory(&interpolate(low_res, (side, side))?)?;
            let mask = predictor.at_mask_input(&shares)?;
            let memory = predictor.model.encode_memory(pix_feat, &mask, object.score > 0.0)?;
            object.memory = Some(predictor.stored(&memory)?);
        }
        Ok(())
    }

    /// Forgets what no frame to come can use.
    pub(super) fn leave(&self, state: &mut InferenceState) {
        let Some(visited) = state.visited.take() else { return };
        let retention = self.predictor.options.retention;
        retention.trim(&mut state.bank, visited.visit);
        if retention != Retention::All {
            let frame = visited.visit.frame;
            let (bank, inputs) = (&state.bank, &mut state.inputs);
            inputs.retain(|(on, _), _| *on == frame || bank.cond(*on).is_some());
        }
    }
}

impl Predictor {
    /// What the object at `place` is found by; none where nothing is remembered.
    fn tokens(&self, state: &InferenceState, selection: &Selection, place: usize) -> Result<Option<MemoryTokens>> {
        let object = |choice| -> &Remembered { &state.bank.chosen(choice).objects[place] };
        let memories: Vec<(&Tensor, usize)> = selection
            .memories
            .iter()
            .filter_map(|choice| Some((object(choice).memory.as_ref()?, choice.place)))
            .collect();
        if memories.is_empty() {
            return Ok(None);
        }
        let span = (pointers(self.options.frames) - 1) as f64;
        let pointers: Vec<(&Tensor, f64)> = selection
            .pointers
            .iter()
            .map(|choice| (&object(choice).pointer, choice.place as f64 / span))
            .collect();
        Ok(Some(self.model.memory_tokens(&memories, &pointers, &self.tables)?))
    }
}

/// What is stored of a conditioning frame.
fn again(record: &Record) -> Result<(Vec<Tracked>, Vec<Tensor>)> {
    let mut found = Vec::with_capacity(record.objects.len());
    for object in &record.objects {
        let low_res = object
            .low_res
            .as_ref()
            .expect("a conditioning frame ahead keeps its masks");
        let tracked = Tracked {
            logits: low_res.to_vec()?,
            object_score: object.score,
            iou: Some(object.iou),
        };
        found.push((tracked, low_res.clone()));
    }
    Ok(found.into_iter().unzip())
}

/// What the memory encoder makes of logits before it looks at them: −10 to 10.
pub(super) fn to_memory(logits: &Tensor) -> Result<Tensor> {
    Ok(sigmoid(logits)?.affine(20.0, -10.0)?)
}
