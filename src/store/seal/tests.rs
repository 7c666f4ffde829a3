use std::fs;

use serde_json::json;

use std::collections::BTreeMap;

use super::super::own::REPORT_FILE;
use super::*;

const PART: &str = "runs/noise/parts/0123456789abcdef.part";
const FILES: [&str; 4] = ["lab.json", "runs/noise/manifest.json", "runs/noise/ledger.jsonl", PART];
const BEGINS: &str = "{\"format\":\"cliffline-part\"";

fn write_manifest(dir: &Path, seal: &Seal) -> Result<(), StoreError> {
    fs::write(dir.join(MANIFEST_FILE), json!({"of": "anything"}).to_string()).unwrap();
    seal_manifest(dir, seal)
}

fn sealed(bundling: Bundling) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("runs/noise/parts")).unwrap();
    for name in FILES {
        fs::write(dir.path().join(name), format!("{BEGINS}, \"name\":\"{name}\"}}")).unwrap();
    }
    seal(dir.path(), Scope::Own, bundling, |seal| write_manifest(dir.path(), seal)).unwrap();
    dir
}

fn names(dir: &Path) -> Vec<String> {
    let check = check_seal(dir).unwrap();
    check.faults.into_iter().chain(check.extra).map(|(name, _)| name).collect()
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

#[test]
fn any_flipped_bit_is_of_the_file_that_has_it_and_of_no_other() {
    let dir = sealed(Bundling::IfSmall);
    assert!(check_seal(dir.path()).unwrap().is_intact());
    for file in FILES.into_iter().chain([MANIFEST_FILE, LEDGER_FILE, BUNDLE_FILE]) {
        let path = dir.path().join(file);
        let bits = fs::read(&path).unwrap().len() * 8;
        for bit in (0..bits).step_by(1 + bits / 100) {
            flip(&path, bit);
            assert_eq!(names(dir.path()), [file], "bit {bit}");
            flip(&path, bit);
        }
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(names(dir.path()), [file], "missing");
        fs::write(&path, kept).unwrap();
    }
    fs::write(dir.path().join("runs/mine.txt"), "mine").unwrap();
    assert_eq!(names(dir.path()), ["runs/mine.txt"]);
}

#[test]
fn a_directory_without_a_bundle_wants_none() {
    let dir = sealed(Bundling::No);
    assert!(check_seal(dir.path()).unwrap().is_intact());
    fs::write(dir.path().join(BUNDLE_FILE), "PK").unwrap();
    assert_eq!(names(dir.path()), [BUNDLE_FILE]);
    let never = tempfile::tempdir().unwrap();
    fs::write(never.path().join("a"), "a").unwrap();
    let check = check_seal(never.path()).unwrap();
    assert!(check.ledger.is_none() && check.faults.is_empty() && !check.is_intact());
}

#[test]
fn a_change_is_sealed_alone() {
    let dir = sealed(Bundling::IfSmall);
    fs::write(dir.path().join("gates.json"), BEGINS).unwrap();
    let sound = fs::read(dir.path().join("lab.json")).unwrap();
    fs::write(dir.path().join("lab.json"), "tampered with").unwrap();
    let changed = BTreeSet::from(["gates.json".to_string()]);
    let again = |bundling| seal(dir.path(), Scope::Changed(&changed), bundling, |s| write_manifest(dir.path(), s));
    again(Bundling::No).unwrap();
    assert_eq!(names(dir.path()), ["lab.json"]);
    // Nor does a bundle carry it on.
    assert!(again(Bundling::IfSmall).unwrap_err().to_string().contains("lab.json"));
    fs::write(dir.path().join("lab.json"), sound).unwrap();
    again(Bundling::Yes { parts: true }).unwrap();
    assert!(check_seal(dir.path()).unwrap().is_intact());
    flip(&dir.path().join(MANIFEST_FILE), 9);
    let error = again(Bundling::No).unwrap_err().to_string();
    assert!(error.contains("manifest.json is damaged"), "{error}");
}

#[test]
fn a_seal_that_was_cut_short_is_ended_or_undone() {
    let killed = || Err(StoreError::damaged(Path::new("killed"), "here"));
    let dir = sealed(Bundling::IfSmall);
    let changed = BTreeSet::from(["gates.json".to_string()]);
    let cut = |write: &dyn Fn(&Seal) -> Result<(), StoreError>| {
        fs::write(dir.path().join("gates.json"), BEGINS).unwrap();
        seal(dir.path(), Scope::Changed(&changed), Bundling::IfSmall, write).unwrap_err();
        assert!(is_cut_short(dir.path()));
        end_cut_short(dir.path()).unwrap();
        assert!(!is_cut_short(dir.path()));
    };
    // Before the manifest had the new root, and after.
    cut(&|_| killed());
    assert_eq!(names(dir.path()), ["gates.json"], "it is not sealed");
    cut(&|seal| write_manifest(dir.path(), seal).and_then(|()| killed()));
    assert!(check_seal(dir.path()).unwrap().is_intact());
    // What somebody changed meanwhile is not taken in.
    fs::write(dir.path().join("lab.json"), "tampered with").unwrap();
    cut(&|seal| write_manifest(dir.path(), seal).and_then(|()| killed()));
    assert_eq!(names(dir.path())[0], "lab.json");
    end_cut_short(dir.path()).unwrap();
}

#[test]
fn files_that_were_announced_are_as_they_were_or_as_they_were_to_be() {
    let dir = sealed(Bundling::No);
    let at = |name: &str| dir.path().join(name);
    let file = |text: &str| TableBytes {
        bytes: text.len() as u64,
        blake3: blake3::hash(text.as_bytes()).to_hex().to_string(),
        rows: 0,
    };
    let page = "<html>cliffline</html>";
    let files = BTreeMap::from([(REPORT_FILE.to_string(), file(page)), ("gates.json".to_string(), file("new"))]);
    announce(dir.path(), &files, &[]).unwrap();
    let faults = || {
        let found = check_cut_short(dir.path()).unwrap().expect("cut short").faults;
        found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(faults(), Vec::<String>::new(), "nothing is written yet");
    fs::write(at(REPORT_FILE), page).unwrap();
    assert_eq!(faults(), Vec::<String>::new(), "one is");
    fs::write(at("gates.json"), "neither").unwrap();
    assert_eq!(faults(), ["gates.json"]);
    fs::write(at("gates.json"), "new").unwrap();
    assert_eq!(faults(), Vec::<String>::new(), "both are");
    // Nobody may say of a manifest that was altered what is to become of its files.
    fs::write(at(MANIFEST_FILE), "{}").unwrap();
    assert!(matches!(announce(dir.path(), &files, &[]), Err(StoreError::Damaged { .. })));
    fs::remove_file(at(LEDGER_FILE)).unwrap();
    announce(dir.path(), &files, &[]).unwrap();
}

#[test]
fn a_seal_that_was_cut_short_accounts_for_its_own_files_and_for_no_others() {
    let killed = || Err(StoreError::damaged(Path::new("killed"), "here"));
    let dir = sealed(Bundling::IfSmall);
    let at = |name: &str| dir.path().join(name);
    let cut_short = || check_cut_short(dir.path()).unwrap();
    assert!(cut_short().is_none());
    let faults = || {
        let faults = cut_short().expect("cut short").faults;
        faults.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    // What is no beginning of a seal excuses nothing.
    let whole = fs::read(at(LEDGER_FILE)).unwrap();
    for claim in [&b""[..], b"mine", &whole] {
        fs::write(at(PENDING_LEDGER_FILE), claim).unwrap();
        assert!(cut_short().is_none());
    }
    let changed = BTreeSet::from(["gates.json".to_string()]);
    let tampered = |name: &str| {
        let sound = fs::read(at(name)).unwrap();
        fs::write(at(name), "tampered with").unwrap();
        assert_eq!(faults(), [name]);
        fs::write(at(name), sound).unwrap();
    };
    fs::write(at("gates.json"), BEGINS).unwrap();
    seal(dir.path(), Scope::Changed(&changed), Bundling::No, |_| killed()).unwrap_err();
    fs::write(at(".cliffline-1.tmp"), "half a bundle").unwrap();
    let found = cut_short().expect("cut short");
    assert_eq!((found.faults, found.changed), (vec![], vec!["gates.json".to_string()]));
    ["lab.json", "gates.json", MANIFEST_FILE, LEDGER_FILE].iter().for_each(|name| tampered(name));
    // With the new manifest in place the earlier seal does not matter any more.
    end_cut_short(dir.path()).unwrap();
    let write = |seal: &Seal| write_manifest(dir.path(), seal).and_then(|()| killed());
    seal(dir.path(), Scope::Changed(&changed), Bundling::No, write).unwrap_err();
    let found = cut_short().expect("cut short");
    assert_eq!((found.faults, found.changed), (vec![], vec![]));
    ["lab.json", "gates.json"].iter().for_each(|name| tampered(name));
    fs::write(at("runs/key.pem"), "mine").unwrap();
    fs::remove_file(at("lab.json")).unwrap();
    assert_eq!(faults(), ["lab.json", "runs/key.pem"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_plain_file_at_the_place_of_a_bundle_or_its_note_is_named() {
    let dir = sealed(Bundling::No);
    for name in [BUNDLE_FILE, BUNDLE_NOTE_FILE] {
        std::os::unix::fs::symlink("nowhere", dir.path().join(name)).unwrap();
        assert_eq!(names(dir.path()), [name]);
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(check_seal(dir.path()).unwrap().is_intact());
}

#[test]
fn a_run_below_an_unpacked_bundle_lacks_what_that_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("runs/noise");
    fs::create_dir_all(run.join("parts")).unwrap();
    fs::write(dir.path().join(PART), format!("{BEGINS}, \"name\":\"{PART}\"}}")).unwrap();
    let seal_it = |dir: &Path| {
        let manifest = |seal: &Seal| {
            fs::write(dir.join(MANIFEST_FILE), json!({"format": "cliffline-of-anything"}).to_string()).unwrap();
            seal_manifest(dir, seal)
        };
        seal(dir, Scope::Own, Bundling::IfSmall, manifest).unwrap();
    };
    seal_it(&run);
    seal_it(dir.path());
    let out = tempfile::tempdir().unwrap();
    let file = fs::File::open(dir.path().join(BUNDLE_FILE)).unwrap();
    zip::ZipArchive::new(file).unwrap().extract(out.path()).unwrap();
    let below = out.path().join("runs/noise");
    let check = check_seal(&below).unwrap();
    assert!(check.is_intact() && check.unpacked == Some(false) && check.left_out == 1, "{check:?}");
    flip(&below.join(MANIFEST_FILE), 9);
    assert_eq!(names(&below), [MANIFEST_FILE]);
    // A folder that the bundle does not know is none of it.
    let other = out.path().join("runs/mine");
    fs::create_dir(&other).unwrap();
    assert_eq!(unpacked_above(&other), None);
}

#[test]
fn an_unpacked_bundle_says_what_is_not_in_it() {
    let dir = sealed(Bundling::IfSmall);
    let unpack = |to: &Path| {
        let file = fs::File::open(dir.path().join(BUNDLE_FILE)).unwrap();
        zip::ZipArchive::new(file).unwrap().extract(to).unwrap();
    };
    let out = tempfile::tempdir().unwrap();
    unpack(out.path());
    let check = check_seal(out.path()).unwrap();
    assert!(check.is_intact(), "{:?}", check.faults);
    assert_eq!(check.unpacked, Some(false));
    assert!(!out.path().join("runs/noise/parts").exists());
    for file in ["lab.json", BUNDLE_NOTE_FILE, MANIFEST_FILE, LEDGER_FILE] {
        flip(&out.path().join(file), 12);
        assert_eq!(names(out.path()), [file]);
        flip(&out.path().join(file), 12);
    }
    fs::remove_file(out.path().join("lab.json")).unwrap();
    assert_eq!(names(out.path()), ["lab.json"]);
    // Parts that go missing from a directory that was never packed are missing.
    fs::remove_dir_all(dir.path().join("runs/noise/parts")).unwrap();
    assert_eq!(names(dir.path()), [PART]);
}
