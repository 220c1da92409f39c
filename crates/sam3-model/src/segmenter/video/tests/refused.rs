//! What a session refuses, and that it goes on then.

use std::ops::ControlFlow;

use super::{FRAMES, Session, logits, model, options, picture, push, session};
use crate::{Clicks, Error, Retention, VideoError, image::Image, tracking::Direction};

fn refused<T>(result: crate::Result<T>) -> VideoError {
    match result {
        Err(Error::Video(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn what_cannot_be_is_refused_and_the_session_goes_on() {
    let point = Clicks::new().point([120.0, 92.0]);
    let mut session = session(options());
    assert_eq!(refused(session.click(None, &point)), VideoError::NoFrame);
    push(&mut session, 0);
    assert_eq!(refused(session.click(Some(3), &point)), VideoError::NoObject { id: 3 });
    assert!(matches!(session.click(None, &Clicks::new()), Err(Error::Clicks(_))));
    let id = session.click(None, &point).unwrap().id;
    let other = Image::new(120, 160, vec![0; 3 * 160 * 120]).unwrap();
    let expected = VideoError::Size {
        frame: 1,
        expected: (160, 120),
        found: (120, 160),
    };
    assert_eq!(refused(session.push(&other)), expected);
    assert_eq!(push(&mut session, 1).frame, 1);
    session.skip();
    assert_eq!(push(&mut session, 3).tracked, 1);
    assert_eq!(refused(session.look(1, &picture(1))), VideoError::Behind { frame: 1 });
    assert_eq!(
        refused(session.walk(3, Direction::Backward)),
        VideoError::Behind { frame: 3 }
    );
    assert!(session.click(Some(id), &point).is_ok());
    assert!(!session.remove(id + 1).unwrap() && session.remove(id).unwrap());
}

#[test]
fn a_walk_backward_ends_at_the_first_frame() {
    let mut session = session(options().retention(Retention::All));
    session.look(1, &picture(1)).unwrap();
    session.click(None, &Clicks::new().point([120.0, 92.0])).unwrap();
    session.walk(1, Direction::Backward).unwrap();
    for frame in [1, 0] {
        assert_eq!(push(&mut session, frame).frame, frame);
    }
    assert_eq!(refused(session.push(&picture(0))), VideoError::Start);
    session.walk(2, Direction::Forward).unwrap();
    assert_eq!(push(&mut session, 2).frame, 2);
}

/// Who watched a push and ended it may push another picture in its place.
#[test]
fn a_push_that_was_stopped_leaves_no_picture_behind() {
    let follow = |stopped: bool| {
        let mut session = session(options());
        session.look(0, &picture(0)).unwrap();
        session.click(None, &Clicks::new().point([120.0, 92.0])).unwrap();
        push(&mut session, 0);
        if stopped {
            let result = session.push_watched(&picture(9), &mut |_| ControlFlow::Break(()));
            assert!(matches!(result, Err(Error::Stopped { .. })));
        }
        let result = push(&mut session, 1);
        assert_eq!(result.frame, 1);
        (result.objects[0].object_score, result.objects[0].mask.clone())
    };
    assert_eq!(follow(true), follow(false));
}

/// Whoever goes away while a frame is encoded finds the session at the frame before, of whatever size the stopped one was.
#[test]
fn what_was_stopped_leaves_the_frame_before() {
    let point = Clicks::new().point([120.0, 92.0]);
    let other = Image::new(120, 160, vec![0; 3 * 160 * 120]).unwrap();
    let follow = |stopped: bool| {
        let mut session = session(options());
        let stop = |session: &mut Session, frame: usize, image: &Image| {
            if stopped {
                let looked = session.look_watched(frame, image, &mut |_| ControlFlow::Break(()));
                assert!(matches!(looked, Err(Error::Stopped { .. })));
            }
        };
        stop(&mut session, 0, &other);
        assert_eq!(refused(session.click(None, &point)), VideoError::NoFrame);
        push(&mut session, 0);
        let id = session.click(None, &point).unwrap().id;
        push(&mut session, 1);
        stop(&mut session, 2, &picture(9));
        let again = session.click(Some(id), &Clicks::new().point([40.0, 60.0])).unwrap();
        push(&mut session, 2);
        (again.mask, logits(&session, id))
    };
    assert!(follow(true) == follow(false));
}

#[test]
fn memory_is_of_the_objects_and_not_of_the_frames() {
    let point = Clicks::new().point([120.0, 92.0]);
    let bytes = |objects: usize| {
        let mut session = session(options());
        assert_eq!(session.bytes(), 0);
        session.look(0, &picture(0)).unwrap();
        for _ in 0..objects {
            session.click(None, &point).unwrap();
        }
        // Seven frames are remembered, and then one goes for each that comes.
        let after = |session: &mut Session, frames: std::ops::Range<usize>| {
            frames.for_each(|frame| drop(push(session, frame)));
            session.bytes()
        };
        let (early, late) = (after(&mut session, 0..18), after(&mut session, 18..FRAMES));
        assert!(early.abs_diff(late) < early / 20, "{early} {late}");
        late
    };
    let (one, three) = (bytes(1), bytes(3));
    // In this miniature a memory has 8 values a place, of which there are 16 x 16.
    let memory = 7 * 8 * 16 * 16 * 4;
    assert!(three - one > 2 * memory, "{one} {three}");
    assert!(one > memory, "{one}");
}

#[test]
fn without_frames_there_is_nothing_to_end() {
    let mut session = model().video(options()).unwrap();
    assert!(session.finish().is_empty() && session.objects().is_empty());
    assert!(session.low_res_masks().unwrap().is_empty());
}
