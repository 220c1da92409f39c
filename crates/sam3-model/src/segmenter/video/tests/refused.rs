//! What a session refuses, and that it goes on then.

use super::{model, options, picture, push, session};
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

#[test]
fn without_frames_there_is_nothing_to_end() {
    let mut session = model().video(options()).unwrap();
    assert!(session.finish().is_empty() && session.objects().is_empty());
    assert!(session.low_res_masks().unwrap().is_empty());
}
