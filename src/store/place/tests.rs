use super::*;
use crate::store::RunManifest;

fn in_words(dir: &Path) -> String {
    format!("{:?}", holds(dir).unwrap())
}

#[test]
fn a_marked_directory_is_known_and_marking_it_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(holds(dir.path()).unwrap(), Holds::Nothing);
    assert_eq!(holds(&dir.path().join("missing")).unwrap(), Holds::Nothing);
    for kind in [Holds::Run, Holds::Laboratory] {
        let own = dir.path().join(kind.word());
        fs::create_dir(&own).unwrap();
        mark(&own, &kind).unwrap();
        assert_eq!(holds(&own).unwrap(), kind);
        let before = fs::metadata(own.join(MARKER_FILE)).unwrap().modified().unwrap();
        mark(&own, &kind).unwrap();
        assert_eq!(fs::metadata(own.join(MARKER_FILE)).unwrap().modified().unwrap(), before);
        assert!(require_ours(&own, &kind).unwrap());
        let other = if kind == Holds::Run { Holds::Laboratory } else { Holds::Run };
        assert!(matches!(require_ours(&own, &other), Err(StoreError::NotOurs { .. })));
    }
}

/// A process can be killed at any byte of the marker, and just after.
#[test]
fn what_a_process_killed_at_birth_leaves_is_gone_on_with() {
    for kind in [Holds::Run, Holds::Laboratory] {
        let text = kind.marker();
        for cut in 0..=text.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(MARKER_FILE);
            fs::write(&path, &text[..cut]).unwrap();
            fs::write(dir.path().join(".cliffline-a1.tmp"), "half").unwrap();
            let begun = require_ours(dir.path(), &kind).unwrap();
            assert_eq!(begun, cut == text.len(), "{cut}");
            mark(dir.path(), &kind).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
    // Earlier versions began with their lock.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(LOCK_FILE), "process 12 on node-7\n").unwrap();
    fs::create_dir(dir.path().join(PARTS)).unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert_eq!(in_words(dir.path()), "Nothing");
}

#[test]
fn what_others_put_there_is_named_whatever_its_name_is() {
    let cases: [&[(&str, &str)]; 9] = [
        &[("manifest.json", "{\"name\": \"Ann's web app\"}")],
        &[("manifest.json", "{\"format\": \"cliff")],
        &[(".lock", "")],
        &[(".lock", "ann"), (".DS_Store", "x")],
        &[("parts/wing.part", "solid"), ("parts/0123456789abcdef.part", "solid")],
        &[("cliffline.json", "{\"format\": \"theirs\"}")],
        &[("report.html", "<p>"), ("plots/own.svg", "<svg/>")],
        &[("runs/1/log.txt", "x")],
        &[(".lock", "process 9\n"), ("parts/wing.part", "solid")],
    ];
    for files in cases {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let top = files.last().unwrap().0.split('/').next().unwrap();
        let found = match holds(dir.path()).unwrap() {
            Holds::Other(found) => found,
            other => panic!("{files:?}: {other:?}"),
        };
        assert!(found.contains(top) || found.contains(files[0].0), "{files:?}: {found}");
        let error = require_ours(dir.path(), &Holds::Run).unwrap_err().to_string();
        assert!(error.contains(&found) && error.contains("choose another directory with -o"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d", "e\u{1b}[31m"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    assert_eq!(in_words(dir.path()), "Other(\"a, b, c and 2 more\")");
}

#[test]
fn directories_of_earlier_versions_are_known_without_a_marker() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    fs::create_dir_all(run.join(PARTS)).unwrap();
    fs::write(run.join("parts/92dec406e50f6af9.part"), include_bytes!("../../../tests/fixtures/92dec406e50f6af9.part"))
        .unwrap();
    assert_eq!(holds(&run).unwrap(), Holds::Run);
    fs::remove_dir_all(run.join(PARTS)).unwrap();
    assert_eq!(holds(&run).unwrap(), Holds::Nothing);
    let environment = crate::store::Environment::default();
    RunManifest::begin("smoke", "", Value::Null, "n1", environment, Default::default()).write(&run).unwrap();
    assert_eq!(holds(&run).unwrap(), Holds::Run);
    fs::write(run.join(MANIFEST_FILE), format!("{{\"format\": \"{LAB_FORMAT}\"}}")).unwrap();
    assert_eq!(holds(&run).unwrap(), Holds::Laboratory);
    // Nor does a marker that was damaged, or is of another version, hide what it stands in.
    let marker = Holds::Laboratory.marker();
    for damaged in [marker.replace("\"version\": 1", "\"version\": 3"), marker.to_uppercase()] {
        fs::write(run.join(MARKER_FILE), damaged).unwrap();
        assert_eq!(holds(&run).unwrap(), Holds::Laboratory);
    }
}

#[test]
fn a_directory_inside_of_one_of_ours_is_found_however_deep_and_one_beside_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    fs::create_dir_all(run.join("deep/er")).unwrap();
    mark(&run, &Holds::Run).unwrap();
    let expected = Some((run.canonicalize().unwrap(), Holds::Run));
    for inside in ["new", "deep/er", "deep/er/new/newer"] {
        assert_eq!(enclosing(&run.join(inside)), expected, "{inside}");
    }
    for outside in [run.clone(), dir.path().join("other"), dir.path().join("run-2/deep")] {
        assert_eq!(enclosing(&outside), None, "{}", outside.display());
    }
}

/// A link has two places: its own, and the one that it leads to.
#[cfg(unix)]
#[test]
fn a_link_into_a_run_is_inside_of_it_and_so_is_a_link_that_lies_there() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (run, outside) = (dir.path().join("run"), dir.path().join("outside"));
    fs::create_dir_all(run.join("sub")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    mark(&run, &Holds::Run).unwrap();
    let inside = Some((run.canonicalize().unwrap(), Holds::Run));
    for (link, to, expected) in [
        ("in", run.join("sub"), &inside),
        ("run/out", outside.clone(), &inside),
        ("same", run.clone(), &None),
        ("out", outside.clone(), &None),
    ] {
        let link = dir.path().join(link);
        symlink(to, &link).unwrap();
        assert_eq!(enclosing(&link), *expected, "{}", link.display());
    }
    assert_eq!(enclosing(&dir.path().join("in/deep/er")), inside);
    assert_eq!(enclosing(&run.join("sub/..")), None, "the run itself");
    assert_eq!(enclosing(&run.join("sub/.")), inside);
}

#[cfg(unix)]
#[test]
fn links_in_a_directory_of_ours_are_refused_and_nothing_is_written_through_them() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    for name in [MARKER_FILE, LOCK_FILE, "directives.jsonl", "plots", PARTS, "report.html", "mine"] {
        fs::write(&victim, "precious").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let environment = crate::store::Environment::default();
        RunManifest::begin("s", "", Value::Null, "n1", environment, Default::default()).write(dir.path()).unwrap();
        let target = if matches!(name, "plots" | PARTS) { outside.path() } else { &victim };
        symlink(target, dir.path().join(name)).unwrap();
        let error = require_ours(dir.path(), &Holds::Run).unwrap_err();
        assert!(matches!(&error, StoreError::NotPlain { path, .. } if path.ends_with(name)), "{name}: {error}");
        assert!(mark(dir.path(), &Holds::Run).is_err() || name != MARKER_FILE);
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
    // The directory itself may be one: its name is the user's choice.
    let real = tempfile::tempdir().unwrap();
    let link = outside.path().join("link");
    symlink(real.path(), &link).unwrap();
    assert!(!require_ours(&link, &Holds::Run).unwrap());
}
