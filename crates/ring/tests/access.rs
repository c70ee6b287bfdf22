//! Who may have a ring: what others could have written is refused, by name, unless that was asked for.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Rings;
use tidebook_ring::*;

/// A user and a group that this process is not.
const STRANGER: u32 = 54321;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Which path is refused and why, by every way of opening it.
fn refused(path: &Path, access: Access) -> (String, String) {
    let of = |error| match error {
        RingError::Access { path, reason, .. } => (path.display().to_string(), reason),
        other => panic!("{other}"),
    };
    let opened = of(Ring::open_with(path, access).unwrap_err());
    assert_eq!(of(RingView::open(path, access).unwrap_err()), opened);
    assert_eq!(of(Ring::open_or_create(path, &RingOptions::frames(4096).access(access)).unwrap_err()), opened);
    opened
}

#[test]
fn a_ring_is_of_its_user_alone() {
    let rings = Rings::new();
    let path = rings.path().with_file_name("made").join("here").join("test.ring");
    drop(Ring::create(&path, &RingOptions::frames(4096)).unwrap());
    assert_eq!(mode(&path), 0o600);
    for directory in path.ancestors().skip(1).take(2) {
        assert_eq!(mode(directory), 0o700);
    }
    Ring::open(&path).unwrap();
}

/// Method: each right of others given to the file, its directory and one above it in turn. Reading alone is no harm to
/// who opens it.
#[test]
fn what_others_can_write_is_refused_by_name_unless_that_is_allowed() {
    let rings = Rings::new();
    let path = rings.path().canonicalize().unwrap_or(rings.path()).with_file_name("node").join("test.ring");
    drop(Ring::create(&path, &RingOptions::frames(4096)).unwrap());
    let (directory, above) = (path.parent().unwrap(), path.parent().unwrap().parent().unwrap());
    for (place, private) in [(path.as_path(), 0o600), (directory, 0o700), (above, 0o700)] {
        for right in [0o020, 0o002, 0o022] {
            set_mode(place, private | right);
            let (refused, reason) = refused(&path, Access::Private);
            assert_eq!(refused, place.display().to_string());
            assert!(reason.contains("can be written by"), "{reason}");
            Ring::open_with(&path, Access::Anyone).unwrap();
            RingView::open(&path, Access::Anyone).unwrap();
        }
        set_mode(place, private | 0o055);
        Ring::open(&path).unwrap();
        set_mode(place, private);
    }
    // A sticky directory keeps names to their owners: that is how /dev/shm and /tmp are safe. For the rings' own
    // directory it does not do: others could make the one that is not there yet.
    set_mode(above, 0o1777);
    Ring::open(&path).unwrap();
    set_mode(above, 0o700);
    set_mode(directory, 0o1777);
    refused(&path, Access::Private);
    set_mode(directory, 0o700);
    // A link from elsewhere leads to what is really there.
    set_mode(above, 0o777);
    let link = rings.path().with_file_name("link");
    symlink(directory, &link).unwrap();
    refused(&link.join("test.ring"), Access::Private);
}

/// Method: as root, files and directories are given to a stranger; any other user has no such right and sees to it that
/// root's own are trusted.
#[test]
fn what_belongs_to_another_user_is_refused() {
    let rings = Rings::new();
    let path = rings.path().with_file_name("node").join("test.ring");
    drop(Ring::create(&path, &RingOptions::frames(4096)).unwrap());
    let places = [path.as_path(), path.parent().unwrap(), path.parent().unwrap().parent().unwrap()];
    for place in places {
        let given = chown(place, Some(STRANGER), None);
        assert_eq!(given.is_ok(), is_root());
        if given.is_ok() {
            let (refused, reason) = refused(&path, Access::Private);
            assert_eq!((refused, reason), (place.display().to_string(), format!("belongs to user {STRANGER}")));
            Ring::open_with(&path, Access::Anyone).unwrap();
            chown(place, Some(0), None).unwrap();
        }
        Ring::open(&path).unwrap();
    }
}

#[test]
fn a_ring_of_a_group_is_open_to_its_members_and_to_nobody_else() {
    let group = if is_root() { STRANGER } else { rustix::process::getegid().as_raw() };
    let rings = Rings::new();
    let path = rings.path().with_file_name("desk").join("shared").join("test.ring");
    let options = RingOptions::frames(4096).access(Access::Group(group));
    let ring = Ring::create(&path, &options).unwrap();
    ring.producer().unwrap().write(b"hello").unwrap();
    let directory = path.parent().unwrap();
    assert_eq!((mode(&path), mode(directory), mode(directory.parent().unwrap())), (0o660, 0o770, 0o750));
    for made in [&path, directory, directory.parent().unwrap()] {
        assert_eq!(made.metadata().unwrap().gid(), group);
    }
    for opened in [Ring::open_with(&path, Access::Group(group)), Ring::open_or_create(&path, &options)] {
        assert_eq!(opened.unwrap().published(), 1);
    }
    let reason = refused(&path, Access::Private).1;
    assert_eq!(reason, format!("can be written by group {group} (mode 0770)"));
    assert!(refused(&path, Access::Group(group + 1)).1.contains(&format!("by group {group}")));
    set_mode(&path, 0o662);
    assert!(refused(&path, Access::Group(group)).1.contains("by everybody"));
    // Members make rings of their own beside it, whose files belong to them.
    set_mode(&path, 0o660);
    if is_root() {
        chown(&path, Some(STRANGER), None).unwrap();
        Ring::open_with(&path, Access::Group(group)).unwrap();
    }
    // A private ring does not go into a directory in which others could put another one of its name.
    let private = Ring::create(path.with_file_name("own.ring"), &RingOptions::frames(4096));
    assert!(matches!(private, Err(RingError::Access { what: "directory", .. })));
    // Nor a shared one into a private directory, where no member would find it.
    let hidden = rings.path().with_file_name("private").join("test.ring");
    drop(Ring::create(&hidden, &RingOptions::frames(4096)).unwrap());
    let shared = Ring::create(hidden.with_file_name("shared.ring"), &options).unwrap_err();
    assert!(shared.to_string().contains(&format!("is not open to group {group}")), "{shared}");
    assert_eq!(fs::read_dir(hidden.parent().unwrap()).unwrap().count(), 1, "a refused creation leaves nothing");
}

/// Method: a pipe, a directory and a link under the name of a ring; nothing may wait for them or follow them.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let rings = Rings::new();
    let path = rings.path();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(RingView::open(&path, Access::Private).is_err());
    assert!(Ring::open(&path).is_err());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(RingView::open(&path, Access::Private).is_err());
    fs::remove_dir(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    assert!(RingView::open(&path, Access::Private).is_err());
}

/// Method: the link on the way is turned to and fro between a private directory and one that others can write; a ring may be
/// refused, but it is never put where it would be.
#[test]
fn a_ring_is_made_in_the_directory_that_was_examined() {
    let rings = Rings::new();
    let at = |name: &str| rings.path().with_file_name(name);
    for (name, mode) in [("private", 0o700), ("open", 0o777)] {
        fs::create_dir(at(name)).unwrap();
        set_mode(&at(name), mode);
        symlink(at(name), at(&format!("to-{name}"))).unwrap();
    }
    fs::rename(at("to-private"), at("link")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for target in ["open", "private"] {
                    symlink(at(target), at("next")).unwrap();
                    fs::rename(at("next"), at("link")).unwrap();
                }
            }
        });
        for number in 0..1000 {
            let ring = at("link").join(format!("{number}.ring"));
            let _ = Ring::create(&ring, &RingOptions::slots(8, 8));
            if fs::read_dir(at("open")).unwrap().next().is_some() {
                break;
            }
            let _ = fs::remove_file(at("private").join(format!("{number}.ring")));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(at("open")).unwrap().count(), 0);
}
