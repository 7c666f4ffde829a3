use proptest::prelude::*;
use serde_json::json;

use super::*;

fn load(text: &str, axis: &[&str]) -> Result<Sweep, SpecError> {
    let axis = axis.iter().map(|text| (*text).to_string()).collect();
    from_str(text, "i.toml", &Overrides { set: Vec::new(), axis })
}

fn sweep(text: &str) -> Sweep {
    load(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Temperature, learning rate and seed of every cell.
fn places(sweep: &Sweep) -> Vec<(f64, f64, u64)> {
    let place = |cell: &super::super::sweep::Cell| {
        (cell.config.train.learning_rate, cell.config.train.temperature, cell.config.seed)
    };
    sweep.cells.iter().map(place).collect()
}

const GRID: &str = "name = \"i\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1]\ntrain.temperature = [0.01, 0.1]\n\
                    train.learning_rate = [0.05, 0.5]\n";

#[test]
fn cells_are_added_at_every_level_of_what_is_not_named_and_take_their_place_in_order() {
    let sweep = sweep(&format!("{GRID}[[include]]\ntrain.temperature = [0.03, 0.005]\ntrain.learning_rate = 0.05\n"));
    let grid = [0.05, 0.5].iter().flat_map(|rate| [0.01, 0.1].map(|t| (*rate, t)));
    let mut expected: Vec<(f64, f64, u64)> =
        grid.chain([(0.05, 0.005), (0.05, 0.03)]).flat_map(|(r, t)| [0, 1].map(|seed| (r, t, seed))).collect();
    // The order of paths: seed, learning rate, temperature.
    expected.sort_by(|a, b| (a.2, a.0, a.1).partial_cmp(&(b.2, b.0, b.1)).expect("numbers"));
    assert_eq!(places(&sweep), expected);
    let temperature = &sweep.axes[2];
    assert_eq!(temperature.levels, [json!(0.01), json!(0.1)], "the axis is the grid's");
    assert_eq!(sweep.all_levels(temperature), [0.005, 0.01, 0.03, 0.1].map(|level| json!(level)));
    assert_eq!(sweep.base.train.temperature, 0.01);
    let spelled = [("seed", json!([0, 1])), ("train.learning_rate", json!([0.05]))]
        .into_iter()
        .chain([("train.temperature", json!([0.005, 0.03]))])
        .map(|(path, levels)| (path.to_string(), levels.as_array().expect("a list").clone()));
    assert_eq!(sweep.include, [spelled.collect::<Include>()]);
    assert_eq!(super::tests::sweep(&sweep.to_toml()), sweep);
}

#[test]
fn the_hash_follows_the_cells_that_an_include_adds() {
    let plain = sweep(GRID);
    let nothing = sweep(&format!("{GRID}[[include]]\ntrain.temperature = [0.1, 0.01]\nseed = 1\n"));
    assert_eq!((&nothing, nothing.hash()), (&plain, plain.hash()), "those cells are on the grid");
    let more = sweep(&format!("{GRID}[[include]]\ntrain.temperature = [0.1, 0.02]\n"));
    assert_ne!(more.hash(), plain.hash());
    let grown = sweep(&format!("{}[[include]]\ntrain.temperature = 0.02\n", GRID.replace("0.01,", "0.01, 0.02,")));
    assert_eq!((grown.hash(), &grown.cells), (more.hash(), &more.cells), "the same cells by another way");
    assert!(grown.include.is_empty());
}

#[test]
fn spellings_of_the_same_cells_are_the_same_sweep() {
    let whole = sweep(&format!("{GRID}[[include]]\ntrain.temperature = [0.02, 0.03]\nseed = [0, 1, 2]\n"));
    let pieces = [
        "train.temperature = 0.03\nseed = 2\ntrain.learning_rate = [0.5]",
        "train.temperature = [0.03, 0.02, 0.03, 0.1]\nseed = [1, 0]",
        "train.learning_rate = [0.5, 0.05]\nseed = 2\ntrain.temperature = 0.02",
        "train = { temperature = 0.03, learning_rate = 0.05 }\nseed = 2",
    ];
    // The second piece has cells of the grid as well.
    let text: String = pieces.iter().map(|piece| format!("[[include]]\n{piece}\n")).collect();
    assert_eq!(sweep(&format!("{GRID}{text}")), whole);
    assert_eq!(whole.include.len(), 1);
    let entries: Vec<Include> = whole.include.clone();
    assert_eq!(sweep(GRID).with_includes(&entries).expect("valid"), whole);
    assert_eq!(whole.with_includes(&entries).expect("valid"), whole, "once more adds nothing");
}

#[test]
fn an_include_brings_back_what_an_exclude_left_out() {
    let sweep = sweep(&format!(
        "{GRID}[[exclude]]\ntrain.temperature = 0.1\n[[include]]\ntrain.temperature = 0.1\nseed = 1\ntrain.learning_rate = 0.5\n"
    ));
    assert_eq!(places(&sweep), [(0.05, 0.01, 0), (0.5, 0.01, 0), (0.05, 0.01, 1), (0.5, 0.01, 1), (0.5, 0.1, 1)]);
    assert_eq!(super::tests::sweep(&sweep.to_toml()), sweep);
}

#[test]
fn zipped_axes_are_included_row_by_row_or_not_named() {
    let zipped = "name = \"z\"\npreset = \"tiny\"\nzip = [[\"train.temperature\", \"model.hidden_img\"]]\n[axes]\n\
                  seed = [0]\ntrain.temperature = [0.1, 0.2]\nmodel.hidden_img = [32, 16]\n";
    let named = sweep(&format!("{zipped}[[include]]\ntrain.temperature = [0.4, 0.3]\nmodel.hidden_img = [64, 8]\n"));
    let rows: Vec<(u64, f64)> =
        named.cells.iter().map(|cell| (cell.config.model.hidden_img, cell.config.train.temperature)).collect();
    assert_eq!(rows, [(8, 0.3), (16, 0.2), (32, 0.1), (64, 0.4)]);
    assert_eq!(sweep(&named.to_toml()), named);
    let whole = sweep(&format!("{zipped}[[include]]\nseed = 5\n"));
    assert_eq!(whole.cells.len(), 4, "the rows of the group, not their product");
    assert_eq!(sweep(&whole.to_toml()), whole);
    for wrong in ["train.temperature = 0.3", "train.temperature = [0.3, 0.4]\nmodel.hidden_img = [8]"] {
        assert!(load(&format!("{zipped}[[include]]\n{wrong}\n"), &[]).is_err(), "{wrong} was taken");
    }
}

#[test]
fn a_flag_leaves_of_an_include_the_levels_that_its_axis_still_has() {
    let text = format!("{GRID}[[include]]\ntrain.temperature = [0.02, 0.03]\n[[include]]\nseed = 7\n");
    let cells = |axis: &[&str]| places(&load(&text, axis).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(cells(&["train.temperature=0.1"]).len(), 2 * 2 + 2, "seed 7 stays, the temperatures go");
    assert_eq!(cells(&["seed=0"]).len(), 4 + 4, "seed 7 goes");
    assert_eq!(cells(&["seed=0,7"]).len(), 8 + 8);
    assert_eq!(cells(&["train.temperature=0.02,0.1", "seed=3"]).len(), 4);
}

#[test]
fn gates_may_name_levels_that_only_includes_have() {
    let gate = "[[gate]]\nmetric = \"lost\"\nmax = 0\nwhere = { train.temperature = 0.02 }\n";
    assert!(load(&format!("{GRID}{gate}"), &[]).is_err());
    let included = sweep(&format!("{GRID}{gate}[[include]]\ntrain.temperature = 0.02\n"));
    let judged = included.cells.iter().filter(|cell| included.gates[0].covers(&included.levels(cell))).count();
    assert_eq!(judged, 4);
}

#[test]
fn wrong_includes_are_refused() {
    for (entry, message) in [
        ("", "an include is a table of axes with values"),
        ("image.noise = 0.5", "`image.noise` is not an axis of this spec"),
        ("train.temprature = 0.5", "there is no parameter `train.temprature`"),
        ("train.temperature = []", "is empty"),
        ("train.temperature = 500.0", "`train.temperature` cannot be 500.0"),
        ("train.temperature = [0.1, \"x\"]", "`train.temperature` takes a number"),
        ("train.temperature = { min = 0.1 }", "not a range"),
        ("seed = { seeds = 3 }", "not a range"),
        ("seed = 3\ntrain.temperature = 0.2\n\"train.temperature\" = 0.3", "twice"),
        ("seed = 1.5", "`seed` takes a whole number"),
    ] {
        let error = load(&format!("{GRID}[[include]]\n{entry}\n"), &[]).expect_err(entry).to_string();
        assert!(error.contains(message) || error.contains("duplicate key"), "{entry}: {error}");
    }
    assert!(load(&format!("{GRID}include = 3\n"), &[]).is_err());
    assert!(load("name = \"a\"\ninclude = [3]\n[axes]\nseed = [1]\n", &[]).is_err());
    // Such cells cannot be trained.
    let error = load(&format!("{}train.batch_size = [16]\n[[include]]\ntrain.batch_size = 4096\n", GRID), &[]);
    assert!(error.expect_err("too large").to_string().contains("minibatch of 4096"));
}

#[test]
fn included_cells_count_towards_what_fits_in_memory() {
    let many: Vec<String> = (0..2000).map(|seed| seed.to_string()).collect();
    let text = format!("{GRID}[[include]]\nseed = [{}]\n", many.join(", "));
    let within = |memory| super::super::load::from_str_within(&text, "i.toml", &Overrides::default(), memory);
    assert_eq!(within(1 << 30).expect("room enough").cells.len(), 8000);
    let error = within(1 << 20).expect_err("too many").to_string();
    assert!(error.contains("the grid and its includes have 8,008 cells"), "{error}");
}

#[test]
fn a_sweep_takes_over_the_included_cells_of_an_earlier_state() {
    let earlier = sweep(&format!("{GRID}[[include]]\ntrain.temperature = 0.02\ntrain.learning_rate = 0.5\n"));
    let same = sweep(GRID).with_includes_of(&earlier).expect("the same axes");
    assert_eq!(same, earlier);
    let added: Vec<&str> =
        earlier.cells.iter().filter(|c| c.config.train.temperature == 0.02).map(|c| c.id.as_str()).collect();
    assert_eq!(added.len(), 2);
    // An axis more, at whose old value the cells stay what they were; seeds more, where they are not.
    let grown = sweep(&GRID.replace("seed = [0, 1]", "seed = [0, 1, 2]\nimage.noise = [0.0, 0.5]"));
    let kept = grown.with_includes_of(&earlier).expect("an axis more");
    assert_eq!(kept.cells.len(), grown.cells.len() + 2);
    assert!(added.iter().all(|id| kept.cells.iter().any(|cell| cell.id == *id)));
    let fewer = sweep(&GRID.replace("train.learning_rate = [0.05, 0.5]\n", ""));
    assert_eq!(fewer.with_includes_of(&fewer), Some(fewer.clone()));
    let set = |rate: &str| {
        let text = GRID.replace("train.learning_rate = [0.05, 0.5]\n", "");
        sweep(&text.replace("[axes]", &format!("train.learning_rate = {rate}\n[axes]")))
    };
    let kept = set("0.5").with_includes_of(&earlier).expect("cells at that rate");
    assert!(added.iter().all(|id| kept.cells.iter().any(|cell| cell.id == *id)));
    assert_eq!(set("0.05").with_includes_of(&earlier), None);
    assert_eq!(sweep(&GRID.replace("[axes]", "train.steps = 41\n[axes]")).with_includes_of(&earlier), None);
    let zipped = sweep(&format!("zip = [[\"train.temperature\", \"train.learning_rate\"]]\n{GRID}"));
    assert_eq!(zipped.with_includes_of(&earlier), None);
}

/// Up to six entries, each over some of the axes.
fn entries() -> impl Strategy<Value = String> {
    let some = |path: &'static str, pool: &'static [&'static str]| {
        let levels = proptest::sample::subsequence(pool, 0..=pool.len()).prop_shuffle();
        levels.prop_map(move |levels| match levels.len() {
            0 => String::new(),
            n if path.starts_with("seed") => {
                format!("seed = [{}]\nimage.noise = [{}]\n", ["7", "0", "1"][..n].join(", "), levels.join(", "))
            }
            _ => format!("{path} = [{}]\n", levels.join(", ")),
        })
    };
    let entry = (
        // Axes of a zip group, or not.
        some("seed, image.noise", &["0.9", "0.2", "0.5"]),
        some("image.mask", &["0", "0.5", "1"]),
        some("train.temperature", &["0.3", "0.01", "1", "1e-3"]),
        some("pairing.kind", &["\"block\"", "\"swap\"", "\"offset\""]),
    );
    let written =
        entry.prop_map(|(a, b, c, d)| format!("{a}{b}{c}{d}")).prop_filter("names an axis", |text| !text.is_empty());
    proptest::collection::vec(written, 0..=6)
        .prop_map(|entries| entries.iter().map(|entry| format!("[[include]]\n{entry}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn includes_survive_the_resolved_spec(text in entries(), zip: bool, exclude: bool) {
        let zip = if zip { "zip = [[\"seed\", \"image.noise\"]]\n" } else { "" };
        let exclude = if exclude { "[[exclude]]\ntrain.temperature = 0.1\nseed = 1\n" } else { "" };
        let head = format!("name = \"p\"\npreset = \"tiny\"\n{zip}[axes]\nseed = [0, 1]\nimage.noise = [0.2, 0.5]\n\
                            image.mask = [0, 1]\ntrain.temperature = [0.1, 0.01]\npairing.kind = [\"swap\", \"block\"]\n");
        let first = sweep(&format!("{head}{exclude}{text}"));
        let again = sweep(&first.to_toml());
        prop_assert_eq!(again.hash(), first.hash());
        prop_assert_eq!(&again, &first);
        // Where nothing is said of the includes, the cells are those of the grid and of each entry.
        let grid = sweep(&format!("{head}{exclude}"));
        prop_assert_eq!(&grid.with_includes_of(&first), &Some(first.clone()));
        let mut ids: std::collections::BTreeSet<String> = grid.cells.iter().map(|cell| cell.id.clone()).collect();
        for entry in text.split("[[include]]\n").skip(1) {
            let alone = sweep(&format!("{head}{exclude}[[include]]\n{entry}"));
            ids.extend(alone.cells.iter().map(|cell| cell.id.clone()));
        }
        prop_assert_eq!(ids.len(), first.cells.len(), "cells repeat or are lost");
        prop_assert!(first.cells.iter().all(|cell| ids.contains(&cell.id)));
        prop_assert_eq!(first.included(), first.cells.len() - grid.cells.len(), "entries overlap");
    }
}
