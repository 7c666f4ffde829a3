//! `report`: one page and its pictures.

use crate::common::flip;
use crate::{contains_all, finished, has_keys, refused};

#[test]
fn a_report_is_one_page_that_loads_nothing_and_the_same_twice() {
    let sandbox = finished();
    let ran = sandbox.ok("report run");
    contains_all(&ran.stdout, &["run/report.html: ", " figures, "]);
    assert_eq!(ran.stderr, "");
    let page = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");
    assert!(page.len() < 5_000_000, "{}", page.len());
    contains_all(&page, &["Not verified for live deployment; human review required.", "<h1>smoke</h1>"]);
    contains_all(
        &page,
        &["All gates together: <span class=\"verdict pass\">pass</span>", "36</b> of 36 cells finished"],
    );
    contains_all(&page, &["effective_rank_img, over train.temperature and image.noise", "pairing.rate 0.25"]);
    let elsewhere = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
    assert!(!page.contains(sandbox.path("").to_str().expect("a path")), "no path of the machine");
    // Ids are unique, those inside of pictures included.
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);

    let before = sandbox.tree();
    let json = sandbox.ok("report run --json").json();
    assert_eq!(sandbox.tree(), before, "the same bytes, the manifest's included");
    has_keys(&json, &["format", "version", "dir", "report", "bytes", "figures", "removed", "verification_statement"]);
    assert_eq!(json["bytes"], page.len());
    for figure in json["figures"].as_array().expect("figures") {
        let file = format!("run/{}", figure["file"].as_str().expect("a file"));
        let svg = std::fs::read_to_string(sandbox.path(&file)).expect("a picture");
        contains_all(&svg, &["<svg xmlns=", "<title>", "<desc>", "role=\"img\""]);
        assert!(svg.len() < 150_000, "{file}: {}", svg.len());
    }
}

#[test]
fn a_report_is_verified_with_its_run_and_pictures_that_are_no_more_are_removed() {
    let sandbox = finished();
    sandbox.ok("report run");
    sandbox.ok("verify run");
    sandbox.write("run/plots/of-an-earlier-version.svg", "<svg/>");
    assert_eq!(sandbox.ok("report run --json").json()["removed"], 1);
    assert!(!sandbox.path("run/plots/of-an-earlier-version.svg").exists());
    flip(&sandbox.path("run/report.html"), 100);
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(1));
    contains_all(&verified.stdout, &["report.html: its BLAKE3 differs from the manifest's"]);
    sandbox.ok("report run");
    sandbox.ok("verify run");
    // A run that is not what its manifest says, and none at all.
    flip(&sandbox.path("run/surfaces.parquet"), 100);
    refused(&sandbox, "report run", &["surfaces.parquet is not what manifest.json lists"]);
    std::fs::remove_file(sandbox.path("run/surfaces.parquet")).expect("removed");
    refused(&sandbox, "report run", &["run has no surfaces.parquet yet: the command that made the run writes it"]);
    refused(&sandbox, "report nowhere", &["nowhere is not a run directory"]);
}
