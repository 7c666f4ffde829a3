//! Directories and files that are somebody else's: none is replaced, removed, sealed, bundled or followed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Ran, Sandbox};
use crate::{contains_all, refused};

const SPEC: &str =
    "name = \"mine\"\npreset = \"tiny\"\n[train]\nsteps = 10\n[axes]\nseed = [3, 5]\n\"image.noise\" = [0.0, 0.4]\n";
const GO: &str = "run mine.toml -o run --backend flex --threads 1";
/// What marks a directory as that of a laboratory.
const LABORATORY: &str = "{\"format\": \"cliffline-directory\", \"version\": 1, \"holds\": \"laboratory\"}\n";
/// Much longer than any command here takes; one that waits for a pipe takes for ever.
const FOREVER: Duration = Duration::from_secs(120);

fn made(flags: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("mine.toml", SPEC);
    sandbox.ok(&format!("{GO} {flags}"));
    sandbox
}

fn put(sandbox: &Sandbox, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = sandbox.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
}

/// When each entry below was last changed.
fn times(dir: &Path, found: &mut BTreeMap<String, SystemTime>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let about = std::fs::symlink_metadata(&path).expect("an entry");
        found.insert(path.display().to_string(), about.modified().expect("a time"));
        if about.is_dir() {
            times(&path, found);
        }
    }
}

/// Runs the program and ends it when it hangs.
fn in_time(sandbox: &Sandbox, arguments: &str) -> Ran {
    let mut child = sandbox.command(arguments).spawn().expect("the program starts");
    let started = Instant::now();
    while child.try_wait().expect("it can be asked").is_none() {
        if started.elapsed() > FOREVER {
            child.kill().expect("killed");
            panic!("{arguments} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ran::of(child.wait_with_output().expect("its output"))
}

#[test]
fn somebody_elses_folder_is_refused_by_every_command_and_not_touched() {
    let folders: [&[(&str, &str)]; 6] = [
        &[("theirs/manifest.json", "{\"short_name\": \"shop\"}"), ("theirs/report.html", "<h1>Q3</h1>")],
        &[("theirs/parts/wing.part", "solid wing"), ("theirs/cells.parquet", "PAR1")],
        &[("theirs/runs/7/log.txt", "epoch 1"), ("theirs/plots/loss.svg", "<svg/>")],
        &[("theirs/.lock", "4711")],
        &[("theirs/cliffline.json", "{\"theme\": \"dark\"}"), ("theirs/key.pem", "secret")],
        &[("theirs/ledger.jsonl", "1.50 EUR"), ("theirs/spec.toml", "name = \"theirs\"")],
    ];
    for files in folders {
        let sandbox = Sandbox::new();
        sandbox.write("mine.toml", SPEC);
        put(&sandbox, files);
        let mut before = BTreeMap::new();
        times(&sandbox.path("theirs"), &mut before);
        let names = files[0].0.split('/').nth(1).expect("a name");
        for command in ["run mine.toml -o theirs --backend flex", "lab geometry --quick -o theirs --backend native"] {
            let ran =
                refused(&sandbox, command, &["theirs is not empty and is not a ", "choose another directory with -o"]);
            assert!(ran.stderr.contains("it holds ") && ran.stderr.contains(names), "{names}: {}", ran.stderr);
        }
        for command in ["report", "gate", "bundle", "refine", "boundary", "status", "compare theirs"] {
            let command = format!("{command} theirs");
            contains_all(&refused(&sandbox, &command, &["theirs"]).stderr, &["theirs is not a run directory"]);
        }
        let mut after = BTreeMap::new();
        times(&sandbox.path("theirs"), &mut after);
        assert_eq!(after, before);
    }
}

#[test]
fn a_folder_with_nothing_but_litter_is_empty() {
    let sandbox = Sandbox::new();
    sandbox.write("mine.toml", SPEC);
    std::fs::create_dir_all(sandbox.path("run/lost+found")).expect("made");
    put(&sandbox, &[("run/.DS_Store", "x")]);
    sandbox.ok(GO);
    contains_all(&sandbox.ok("verify run").stdout, &[".DS_Store: left by", "lost+found: left by", "passed"]);
}

/// In a run of ours, at places where files of ours go and at others.
#[test]
fn what_others_put_into_a_run_is_never_sealed_bundled_or_removed() {
    let sandbox = made("--no-report --no-exemplars");
    let theirs = [
        ("run/key.pem", "secret"),
        ("run/notes/a.txt", "mine"),
        ("run/plots/own.svg", "<svg/>"),
        ("run/parts/mine.part", "mine"),
        ("run/gates.json", "{\"gates\": [\"north\", \"south\"]}"),
        ("run/exemplars.parquet", "mine"),
        ("run/refinement.json", "{}"),
        ("run/report.html", "<h1>mine</h1>"),
    ];
    put(&sandbox, &theirs);
    // Those are at places where nothing is written in this run.
    let idle = ["run/gates.json", "run/exemplars.parquet", "run/refinement.json"];
    let is_there =
        |name: &str, text: &str| std::fs::read_to_string(sandbox.path(name)).is_ok_and(|found| found == text);
    // Nothing to do, then a larger plan, and then a report at a place that is taken.
    sandbox.ok(&format!("{GO} --no-report"));
    sandbox.ok(&format!("{GO} --no-report --no-exemplars --axis seed=3,5,8"));
    assert!(theirs.iter().all(|(name, text)| is_there(name, text)), "{:?}", sandbox.tree());
    contains_all(&sandbox.ok("report run").stderr, &["run/report.html was not made by this program"]);
    for (name, text) in theirs {
        assert_eq!(is_there(name, text), name != "run/report.html", "{name}");
    }
    assert!(is_there("run/report.html.set-aside", "<h1>mine</h1>"));
    sandbox.ok("bundle run --with-parts");
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(1));
    for name in ["key.pem", "notes/a.txt", "plots/own.svg", "parts/mine.part"] {
        contains_all(&verified.stdout, &[&format!("{name}: not of this run")]);
    }
    let file = std::fs::File::open(sandbox.path("run/bundle.zip")).expect("a bundle");
    let bundle = zip::ZipArchive::new(file).expect("a zip file");
    let bundled: Vec<String> = bundle.file_names().map(|name| name.expect("text").into_owned()).collect();
    assert!(
        bundled.contains(&"report.html".to_string()) && bundled.contains(&"cliffline.json".to_string()),
        "{bundled:?}"
    );
    for name in ["key.pem", "notes/a.txt", "plots/own.svg", "parts/mine.part"] {
        assert!(!bundled.iter().any(|path| path == name || path.contains("set-aside")), "{bundled:?}");
        std::fs::remove_file(sandbox.path(&format!("run/{name}"))).expect("still there");
    }
    idle.iter().for_each(|name| std::fs::remove_file(sandbox.path(name)).expect("still there"));
    // What was set aside is named, and is no fault.
    contains_all(&sandbox.ok("verify run").stdout, &["report.html.set-aside: set aside by the program", "passed"]);
}

/// Killed before it sealed anything, a run has no list of what is its own.
#[test]
fn what_others_put_into_a_run_that_was_killed_is_not_its_own_either() {
    let sandbox = made("");
    for seal in ["ledger.jsonl", "bundle.zip", "cells.parquet"] {
        std::fs::remove_file(sandbox.path(&format!("run/{seal}"))).expect("removed");
    }
    put(
        &sandbox,
        &[("run/key.pem", "secret"), ("run/plots/own.svg", "<svg/>"), ("run/directives.jsonl", "to do: rest")],
    );
    sandbox.ok(GO);
    let verified = sandbox.run("verify run");
    contains_all(&verified.stdout, &["key.pem: not of this run", "plots/own.svg: not of this run"]);
    contains_all(&verified.stdout, &["directives.jsonl.set-aside: set aside"]);
    let aside = std::fs::read_to_string(sandbox.path("run/directives.jsonl.set-aside")).expect("kept");
    assert_eq!(aside, "to do: rest");
}

#[test]
fn a_spec_that_was_edited_where_it_lay_is_kept() {
    let sandbox = made("--no-report");
    let spec = sandbox.path("run/spec.toml");
    let edited = std::fs::read_to_string(&spec)
        .expect("a spec")
        .replace("\"seed\" = [3, 5]", "# one more\n\"seed\" = [3, 5, 8]");
    std::fs::write(&spec, &edited).expect("edited");
    sandbox.ok("run run/spec.toml -o run --backend flex --threads 1 --no-report");
    assert_eq!(std::fs::read_to_string(sandbox.path("run/spec.toml.set-aside")).expect("kept"), edited);
    sandbox.ok("verify run");
}

#[test]
fn a_file_at_the_place_of_the_list_of_reused_cells_is_set_aside_and_that_is_said() {
    let sandbox = made("--no-report --no-exemplars");
    let other = "run mine.toml -o other --backend flex --threads 1 --no-report --no-exemplars";
    sandbox.ok(&format!("{other} --no-reuse --axis seed=3"));
    put(&sandbox, &[("other/reused.jsonl", "glass\npaper\n")]);
    contains_all(&sandbox.ok(other).stderr, &["other/reused.jsonl was not made by this program"]);
    let aside = std::fs::read_to_string(sandbox.path("other/reused.jsonl.set-aside")).expect("kept");
    assert_eq!(aside, "glass\npaper\n");
    sandbox.ok("verify other");
}

#[test]
fn a_spec_that_is_no_text_any_more_is_kept_as_well() {
    let sandbox = made("--no-report");
    let spec = sandbox.path("run/spec.toml");
    let mut edited = std::fs::read(&spec).expect("a spec");
    edited.extend(b"# \xe9t\xe9\n");
    std::fs::write(&spec, &edited).expect("edited");
    let ran = sandbox.ok(&format!("{GO} --no-report --axis seed=3,5,8"));
    contains_all(&ran.stderr, &["run/spec.toml was not made by this program", "spec.toml.set-aside"]);
    assert_eq!(std::fs::read(sandbox.path("run/spec.toml.set-aside")).expect("kept"), edited);
    sandbox.ok("verify run");
}

#[test]
fn a_report_goes_into_no_other_run_and_over_no_file_of_somebody_else() {
    let sandbox = made("");
    sandbox.write("other.toml", SPEC.replace("[3, 5]", "[7]"));
    sandbox.ok("run other.toml -o other --backend flex --threads 1");
    put(&sandbox, &[("lab/cliffline.json", LABORATORY), ("page.html", "<h1>mine</h1>"), ("data.bin", "mine")]);
    refused(&sandbox, "report run -o other", &["other is a run", "choose another directory with -o"]);
    refused(&sandbox, "report run -o run", &["run is a run", "choose another directory with -o"]);
    refused(&sandbox, "report run -o other/plots", &["would lie inside a run"]);
    refused(&sandbox, "report run -o lab", &["lab is a laboratory"]);
    let cell = sandbox.ok("plan mine.toml --backend flex --no-calibration --cells --json").json();
    let cell = cell["cells"][0]["cell_id"].as_str().expect("an id").to_string();
    let over = ["report run -o page.html", "bundle run -o data.bin", "world export mine.toml -o data.bin"];
    for command in over.map(String::from).into_iter().chain([format!("embed run {cell} -o data.bin")]) {
        refused(&sandbox, &command, &["is there already, and is not what this program writes", "move it away"]);
    }
    // Over what it wrote itself, as often as one likes.
    for command in ["report run -o own.html", "bundle run -o own.zip", "world export mine.toml -o own.parquet"] {
        sandbox.ok(command);
        sandbox.ok(command);
    }
    sandbox.ok("report run -o site");
    sandbox.ok("report run -o site");
    sandbox.ok("verify other");
    sandbox.ok("verify run");
}

#[cfg(unix)]
#[test]
fn a_report_is_not_written_through_links() {
    use std::os::unix::fs::symlink;
    let sandbox = made("");
    put(&sandbox, &[("outside/own.svg", "<svg/>"), ("site/about.html", "mine"), ("page", "<h1>mine</h1>")]);
    symlink(sandbox.path("run"), sandbox.path("link")).expect("a link");
    refused(&sandbox, "report run -o link", &["link is a run"]);
    // One of their own that nothing goes through is no matter.
    symlink("about.html", sandbox.path("site/index.html")).expect("a link");
    symlink(sandbox.path("outside"), sandbox.path("site/plots")).expect("a link");
    refused(&sandbox, "report run -o site", &["site/plots is a symbolic link", "choose another directory with -o"]);
    std::fs::remove_file(sandbox.path("site/plots")).expect("removed");
    symlink(sandbox.path("page"), sandbox.path("site/report.html")).expect("a link");
    refused(&sandbox, "report run -o site", &["site/report.html is a symbolic link"]);
    symlink(sandbox.path("page"), sandbox.path("page.html")).expect("a link");
    refused(&sandbox, "report run -o page.html", &["page.html is there already"]);
    std::fs::remove_file(sandbox.path("site/report.html")).expect("removed");
    sandbox.ok("report run -o site");
    sandbox.ok("verify run");
}

#[test]
fn what_is_called_like_a_lock_is_seen_wherever_it_lies() {
    let sandbox = made("");
    put(&sandbox, &[("run/plots/.lock/x.sh", "mine"), ("run/parts/.lock", "mine"), ("run/notes/.lock", "")]);
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(1), "{verified:?}");
    for name in ["plots/.lock/x.sh", "parts/.lock", "notes/.lock"] {
        contains_all(&verified.stdout, &[&format!("{name}: not of this run")]);
    }
}

#[test]
fn only_what_the_program_would_set_aside_passes_for_set_aside() {
    let sandbox = made("");
    put(&sandbox, &[("run/evil.sh.set-aside", "mine"), ("run/gates.json.set-aside", "mine")]);
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(1), "{verified:?}");
    contains_all(
        &verified.stdout,
        &["evil.sh.set-aside: not of this run", "gates.json.set-aside: set aside by the program"],
    );
}

/// A laboratory from elsewhere, with a pipe where its manifest goes and links where its runs go.
#[cfg(unix)]
#[test]
fn nothing_of_a_laboratory_is_followed_or_waited_for() {
    use std::os::unix::fs::symlink;
    let sandbox = made("");
    put(&sandbox, &[("lab/cliffline.json", LABORATORY)]);
    std::fs::create_dir_all(sandbox.path("lab/runs")).expect("made");
    std::fs::rename(sandbox.path("run"), sandbox.path("elsewhere")).expect("moved");
    symlink(sandbox.path("elsewhere"), sandbox.path("lab/runs/noise")).expect("a link");
    let manifest = sandbox.path("lab/manifest.json");
    let sealed = "{\"format\": \"cliffline-lab-manifest\", \"laboratory\": \"geometry\", \"state\": \"complete\"}";
    std::fs::write(&manifest, sealed).expect("written");
    let status = in_time(&sandbox, "status lab");
    assert_eq!(status.code, Some(4), "{status:?}");
    contains_all(
        &status.stdout,
        &["the laboratory geometry: damaged; 0 runs", "damaged: runs/noise: it is a symbolic link"],
    );
    assert_eq!(sandbox.run("verify lab").code, Some(2), "it has no seal");
    for kind in ["pipe", "link"] {
        std::fs::remove_file(&manifest).expect("removed");
        match kind {
            "link" => symlink(sandbox.path("elsewhere/manifest.json"), &manifest).expect("a link"),
            _ => assert!(std::process::Command::new("mkfifo").arg(&manifest).status().expect("mkfifo").success()),
        }
        let before = sandbox.tree();
        for command in ["status lab", "status lab --json", "verify lab", "report lab", "bundle lab", "gate lab"] {
            let ran = in_time(&sandbox, command);
            assert!(matches!(ran.code, Some(1..=4)), "{kind}: {command}: {ran:?}");
        }
        let status = sandbox.run("status lab --json").json();
        assert!(status["damaged"].to_string().contains("manifest.json"), "{status}");
        assert_eq!(sandbox.tree(), before, "{kind}");
    }
}

#[test]
fn litter_is_named_and_is_no_failure() {
    let sandbox = made("");
    let litter = [
        ("run/.DS_Store", "x"),
        ("run/plots/._a.svg", "x"),
        ("run/parts/.nfs00000000deadbeef", "x"),
        ("run/report.html~", "x"),
        ("run/.report.html.swp", "x"),
        ("run/Thumbs.db", "x"),
    ];
    put(&sandbox, &litter);
    #[cfg(unix)]
    std::os::unix::fs::symlink("ann@host.1:2", sandbox.path("run/.#report.html")).expect("a lock of an editor");
    let verified = sandbox.ok("verify run");
    for (name, _) in litter {
        contains_all(&verified.stdout, &[&format!("{}: left by", name.trim_start_matches("run/"))]);
    }
    sandbox.ok(&format!("{GO} --axis seed=3,5,8"));
    sandbox.ok("report run");
    sandbox.ok("verify run");
    let document = sandbox.ok("verify run --json").json();
    assert_eq!(document["harmless"].as_array().expect("a list").len(), litter.len() + usize::from(cfg!(unix)));
    for (name, text) in litter {
        assert_eq!(std::fs::read_to_string(sandbox.path(name)).expect("still there"), text);
    }
}

#[test]
fn nothing_is_begun_inside_of_a_run() {
    let sandbox = made("--no-report");
    for command in ["run mine.toml -o run/sub", "run mine.toml -o run/plots/deep/er", "lab geometry --quick -o run/lab"]
    {
        refused(&sandbox, command, &["would lie inside a run", "choose another path with -o"]);
    }
    #[cfg(unix)]
    {
        std::fs::create_dir(sandbox.path("run/empty")).expect("made");
        std::os::unix::fs::symlink(sandbox.path("run/empty"), sandbox.path("link")).expect("a link");
        for command in ["run mine.toml -o link", "lab geometry --quick -o link", "run mine.toml -o link/deep"] {
            refused(&sandbox, command, &["would lie inside a run", "choose another path with -o"]);
        }
        std::fs::remove_dir(sandbox.path("run/empty")).expect("still empty");
    }
    sandbox.ok("verify run");
}

/// A directory from elsewhere, with links to places outside and pipes where files should be.
#[cfg(unix)]
#[test]
fn links_and_pipes_are_refused_by_name_and_nothing_hangs_on_them() {
    use std::os::unix::fs::symlink;
    let sandbox = made("");
    put(&sandbox, &[("outside/victim.txt", "precious"), ("outside/folder/own.svg", "<svg/>")]);
    let outside = |name: &str| sandbox.path("outside").join(name);
    let part = crate::common::parts(&sandbox.path("run")).remove(0);
    let part = part.strip_prefix(sandbox.path("run")).expect("inside").display().to_string();
    let writing = [
        "run mine.toml -o run --backend flex --threads 1 --axis seed=3,5,8",
        "bundle run",
        "refine run --axis image.noise",
    ];
    let reading =
        ["status run", "verify run", "gate run", "boundary run", "compare run run", "show run 0", "report run"];
    let names = [".lock", "directives.jsonl", "plots", "parts", "manifest.json", "cells.parquet", "mine", &part];
    for name in names {
        let (path, kept) = (sandbox.path("run").join(name), sandbox.path("kept"));
        let _ = std::fs::rename(&path, &kept);
        for kind in ["link", "pipe"] {
            match kind {
                "link" => {
                    let folder = matches!(name, "plots" | "parts");
                    symlink(outside(if folder { "folder" } else { "victim.txt" }), &path).expect("a link");
                }
                _ => assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success()),
            }
            let before = sandbox.tree();
            for command in writing {
                let ran = in_time(&sandbox, command);
                assert_eq!(ran.code, Some(2), "{kind} {name}: {command}: {ran:?}");
                contains_all(&ran.stderr, &[name.split('/').next().expect("a name")]);
            }
            for command in reading {
                let ran = in_time(&sandbox, command);
                assert!(matches!(ran.code, Some(0..=4)), "{kind} {name}: {command}: {ran:?}");
                if command == "verify run" {
                    assert_eq!(ran.code, Some(1), "{kind} {name}: {ran:?}");
                    contains_all(&ran.stdout, &[&format!("{name}: ")]);
                }
            }
            assert_eq!(sandbox.tree(), before, "{kind} {name}");
            std::fs::remove_file(&path).expect("removed");
        }
        let _ = std::fs::rename(&kept, &path);
    }
    sandbox.ok("verify run");
    // A second name of a file outside is as good as a link to it, for what is written in place.
    std::fs::rename(sandbox.path("run/directives.jsonl"), sandbox.path("kept")).expect("moved");
    std::fs::hard_link(outside("victim.txt"), sandbox.path("run/.lock-of-mine")).expect("linked");
    std::fs::copy(sandbox.path("kept"), outside("log")).expect("copied");
    std::fs::hard_link(outside("log"), sandbox.path("run/directives.jsonl")).expect("linked");
    let log = std::fs::read(outside("log")).expect("a log");
    let ran = sandbox.run(writing[0]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    contains_all(&ran.stderr, &["directives.jsonl", "hard link"]);
    assert_eq!(std::fs::read(outside("log")).expect("a log"), log);
}
