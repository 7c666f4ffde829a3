//! How errors read: the words, the place, the nearest key and the remedy.

use super::diagnostic::SpecError;
use super::load::{Overrides, from_str_within};

/// Fixed, so that the size of a grid is judged alike everywhere.
const MEMORY: u64 = 8 << 30;

fn rendered(text: &str, set: &[&str], axis: &[&str]) -> String {
    let own = |raw: &[&str]| raw.iter().map(|text| (*text).to_string()).collect();
    let overrides = Overrides { set: own(set), axis: own(axis) };
    match from_str_within(text, "sweeps/a.toml", &overrides, MEMORY) {
        Ok(sweep) => panic!("{} cells instead of an error", sweep.cells.len()),
        Err(error) => error.render(false),
    }
}

#[test]
fn colour_is_a_choice_and_changes_no_words() {
    let text = "name = \"a\"\n[trian]\n";
    let error = from_str_within(text, "a.toml", &Overrides::default(), MEMORY).expect_err("a wrong section");
    assert!(matches!(&error, SpecError::Invalid(report) if report.diagnostics.len() == 1));
    assert!(error.render(true).contains("\u{1b}["));
    assert!(!error.render(false).contains('\u{1b}'));
    assert_eq!(error.to_string(), error.render(false));
}

#[test]
fn a_misspelt_key() {
    let text = "name = \"a\"\n\n[train]\ntemprature = 0.1";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: there is no parameter `train.temprature`
     --> sweeps/a.toml:4:1
      |
    4 | temprature = 0.1
      | ^^^^^^^^^^ the nearest is `train.temperature`
      |
      = help: `train.temperature` (temperature that divides the cosine similarities) takes a number from 0.001 to 100
    "#);
}

#[test]
fn a_key_without_its_section() {
    let text = "name = \"a\"\ntemperature = 0.1";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: there is no parameter `temperature`
     --> sweeps/a.toml:2:1
      |
    2 | temperature = 0.1
      | ^^^^^^^^^^^ the nearest is `train.temperature`
      |
      = help: `train.temperature` (temperature that divides the cosine similarities) takes a number from 0.001 to 100
    "#);
}

#[test]
fn a_misspelt_section() {
    let text = "name = \"a\"\n\n[trian]\nsteps = 600";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: there is no section `trian`
     --> sweeps/a.toml:3:2
      |
    3 | [trian]
      |  ^^^^^ the nearest is `train`
      |
      = help: the sections are world, image, text, pairing, confounder, model, train, score, stop, warn, checkpoint, curves
    "#);
}

#[test]
fn two_wrong_types() {
    let text = "name = \"a\"\ntrain.steps = \"600\"\nstop.freeze = 1";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: `train.steps` takes a whole number, not the text "600"
     --> sweeps/a.toml:2:15
      |
    2 | train.steps = "600"
      |               ^^^^^ write 600
      |
      = help: `train.steps` (optimiser steps) takes a whole number from 0 to 16777216

    error: `stop.freeze` takes true or false, not 1
     --> sweeps/a.toml:3:15
      |
    3 | stop.freeze = 1
      |               ^ write true
      |
      = help: `stop.freeze` (stop training a collapsed cell; false only records it) takes true or false
    "#);
}

#[test]
fn an_empty_axis() {
    let text = "name = \"a\"\n[axes]\n\"image.noise\" = []";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: the axis `image.noise` is empty
     --> sweeps/a.toml:3:17
      |
    3 | "image.noise" = []
      |                 ^^
      |
      = help: give it at least one level, or remove the axis to keep the base value
    "#);
}

#[test]
fn a_negative_temperature() {
    let text = "name = \"a\"\n[axes]\n\"train.temperature\" = [0.1, -0.1]";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: `train.temperature` cannot be -0.1
     --> sweeps/a.toml:3:29
      |
    3 | "train.temperature" = [0.1, -0.1]
      |                             ^^^^
      |
      = help: `train.temperature` (temperature that divides the cosine similarities) takes a number from 0.001 to 100
    "#);
}

#[test]
fn an_axis_over_a_section() {
    let text = "name = \"a\"\n[axes]\nstop = { linear = [0, 1], n = 3 }";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: `stop` is a section, not a parameter
     --> sweeps/a.toml:3:1
      |
    3 | stop = { linear = [0, 1], n = 3 }
      | ^^^^
      |
      = help: name one of its parameters: stop.every, stop.effective_rank_below, stop.mean_cosine_above, stop.variance_below, stop.hub_gini_above, stop.symmetry_gap_above, stop.gradient_norm_above, stop.patience, stop.freeze
    "#);
}

#[test]
fn an_unknown_preset() {
    let text = "name = \"a\"\npreset = \"basline\"";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: there is no preset "basline"
     --> sweeps/a.toml:2:10
      |
    2 | preset = "basline"
      |          ^^^^^^^^^ the nearest is "baseline"
      |
      = help: the presets are baseline, tiny, reference
    "#);
}

#[test]
fn a_repeated_level() {
    let text = "name = \"a\"\n[axes]\nseed = [0, 1, 0]";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: the level `seed` = 0 is repeated
     --> sweeps/a.toml:3:15
      |
    3 | seed = [0, 1, 0]
      |         -     ^
      |         |
      |         first here
      |
      = help: a level is one point of an axis: write it once
    "#);
}

#[test]
fn an_exclude_that_matches_nothing() {
    let text = "name = \"a\"\n[axes]\nseed = { seeds = 2 }\n\"pairing.rate\" = [0.0, 0.5]\n\n[[exclude]]\nseed = { min = 2 }\n\"pairing.rate\" = 0.5";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: this exclude matches no cell
     --> sweeps/a.toml:6:1
      |
    6 | [[exclude]]
      | ^^^^^^^^^^^
      |
      = help: a cell must meet all conditions of one [[exclude]]: correct them or remove it
    "#);
}

#[test]
fn includes_that_cannot_be() {
    let text = "name = \"a\"\nzip = [[\"seed\", \"image.noise\"]]\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5]\n\n\
                [[include]]\nseed = 2\n[[include]]\nseed = [2, 3]\n\"image.noise\" = 0.1\n[[include]]\n\"train.steps\" = 7";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: `seed` is zipped with `image.noise`, which this include does not name
     --> sweeps/a.toml:8:1
      |
    8 | seed = 2
      | ^^^^
      |
      = help: name all axes of the group, with lists of one length that advance together, or none of them

    error: zipped axes differ in length: this include gives `seed` 2 values and `image.noise` 1
      --> sweeps/a.toml:11:1
       |
    11 | "image.noise" = 0.1
       | ^^^^^^^^^^^^^
       |
       = help: name all axes of the group, with lists of one length that advance together, or none of them

    error: `train.steps` is not an axis of this spec
      --> sweeps/a.toml:13:1
       |
    13 | "train.steps" = 7
       | ^^^^^^^^^^^^^
       |
       = help: the axes are image.noise, seed
    "#);
    let text = "name = \"a\"\n[axes]\nseed = [0, 1]\n[[include]]\nseed = [2, -1]\n[[include]]\nsed = 3";
    insta::assert_snapshot!(rendered(text, &[], &[]), @"
    error: `seed` cannot be -1
     --> sweeps/a.toml:5:12
      |
    5 | seed = [2, -1]
      |            ^^
      |
      = help: `seed` (seed of every random stream of the cell) takes a whole number from 0 to 9223372036854775807

    error: there is no parameter `sed`
     --> sweeps/a.toml:7:1
      |
    7 | sed = 3
      | ^^^ the nearest is `seed`
      |
      = help: `seed` (seed of every random stream of the cell) takes a whole number from 0 to 9223372036854775807
    ");
}

#[test]
fn a_grid_too_large() {
    let text =
        "name = \"a\"\n[axes]\nseed = { seeds = 1_000_000_000 }\n\"image.noise\" = { linear = [0, 1], n = 1_000 }";
    // What a cell takes grows with every parameter.
    let text = rendered(text, &[], &[]);
    let (before, after) = text.split_once("about ").expect("an estimate");
    let (_, after) = after.split_once(" TiB").expect("of many tebibytes");
    insta::assert_snapshot!(format!("{before}about N TiB{after}"), @r#"
    error: the grid has 1,000,000,000,000 cells: they need about N TiB, and 8.0 GiB are available
     --> sweeps/a.toml:3:1
      |
    3 | seed = { seeds = 1_000_000_000 }
      | ^^^^ the longest axis, 1,000,000,000 levels
      |
      = help: give the axes fewer levels, zip them, or split the sweep
    "#);
}

#[test]
fn wrong_settings_on_the_command_line() {
    let text = "name = \"a\"\n[axes]\n\"train.temperature\" = [0.1]";
    insta::assert_snapshot!(rendered(text, &["train.temprature=0.1", "train.temperature=0.2"], &[]), @r#"
    error: there is no parameter `train.temprature`
     --> command line:1:7
      |
    1 | --set train.temprature=0.1
      |       ^^^^^^^^^^^^^^^^ the nearest is `train.temperature`
      |
      = help: `train.temperature` (temperature that divides the cosine similarities) takes a number from 0.001 to 100

    error: `train.temperature` is an axis: it cannot be set
     --> command line:1:7
      |
    1 | --set train.temperature=0.2
      |       ^^^^^^^^^^^^^^^^^
      |
     ::: sweeps/a.toml:3:1
      |
    3 | "train.temperature" = [0.1]
      | ------------------- the axis
      |
      = help: use --axis train.temperature=0.2 to replace its levels by this one
    "#);
}

#[test]
fn wrong_axes_on_the_command_line() {
    let text = "name = \"a\"";
    insta::assert_snapshot!(rendered(text, &[], &["pairing.kind=swap,blok", "image.noise=log:0:1:3", "seed=linear:0:9"]), @r#"
    error: `pairing.kind` has no choice "blok"
     --> command line:1:26
      |
    1 | --axis pairing.kind=swap,blok
      |                          ^^^^ the nearest is "block"
      |
      = help: `pairing.kind` (how wrong pairs are made) takes one of "swap", "group_swap", "offset", "block"

    error: a logarithmic axis cannot reach 0
     --> command line:1:24
      |
    1 | --axis image.noise=log:0:1:3
      |                        ^
      |
      = help: give two positive ends, or use `linear`

    error: `linear:0:9` does not describe levels
     --> command line:1:13
      |
    1 | --axis seed=linear:0:9
      |             ^^^^^^^^^^
      |
      = help: write --axis path=v1,v2,.., path=linear:LO:HI:N, path=log:LO:HI:N or seed=seeds:N[:FIRST]
    "#);
}

#[test]
fn a_rule_broken_in_some_cells() {
    let text = "name = \"a\"\n[axes]\nworld.n_train = [64, 512]\nseed = { seeds = 3 }";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: a minibatch of 256 pairs cannot be drawn from 64 training pairs
     --> sweeps/a.toml:3:7
      |
    3 | world.n_train = [64, 512]
      |       ^^^^^^^ in 3 of 6 cells, the first at seed = 0, world.n_train = 64
      |
      = help: lower train.batch_size or raise world.n_train
    "#);
}

#[test]
fn zipped_axes_of_different_length() {
    let text =
        "name = \"a\"\nzip = [[\"seed\", \"image.noise\"]]\n[axes]\nseed = { seeds = 3 }\nimage.noise = [0.0, 0.5]";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: zipped axes differ in length: `seed` has 3 levels and `image.noise` has 2
     --> sweeps/a.toml:5:7
      |
    2 | zip = [["seed", "image.noise"]]
      |        ----------------------- zipped here
    ...
    5 | image.noise = [0.0, 0.5]
      |       ^^^^^
      |
      = help: give them the same number of levels, or drop the zip to cross them
    "#);
}

#[test]
fn gates_that_cannot_be() {
    let text = "name = \"a\"\naxes.seed = [0, 1]\n[[gate]]\nmetric = \"effective_rnk_img\"\nmin = 8\n[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 8\nshare = 0\n\
                [[gate]]\nmetric = \"cca_1\"\nmim = 1\n[[gate]]\nmax = 1\nmin_seeds = 0\n[[gate]]\nmetric = \"lost\"\nmin = 1\nmax = 0\nwhere = 3\nname = \"B\"";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: there is no metric "effective_rnk_img"
     --> sweeps/a.toml:4:10
      |
    4 | metric = "effective_rnk_img"
      |          ^^^^^^^^^^^^^^^^^^^ the nearest is "effective_rank_img"
      |
      = help: `cliffline reference` lists the metrics; `lost` is 1 for a cell that collapsed, diverged or failed, else 0

    error: `retrieval_at_1_i2t` is never at least 8
     --> sweeps/a.toml:8:7
      |
    8 | min = 8
      |       ^
      |
      = help: its values are from 0 to 1

    error: a share cannot be 0
     --> sweeps/a.toml:9:9
      |
    9 | share = 0
      |         ^
      |
      = help: it is the share of the seeds that must satisfy the gate: above 0, at most 1

    error: a gate bounds its metric
      --> sweeps/a.toml:10:1
       |
    10 | [[gate]]
       | ^^^^^^^^
       |
       = help: write metric = "effective_rank_img" and min = 8.0, max, or both; then, as wanted, name, condition, where, share, min_seeds

    error: a gate has no key `mim`
      --> sweeps/a.toml:12:1
       |
    12 | mim = 1
       | ^^^ the nearest is `min`
       |
       = help: write metric = "effective_rank_img" and min = 8.0, max, or both; then, as wanted, name, condition, where, share, min_seeds

    error: a gate has a metric
      --> sweeps/a.toml:13:1
       |
    13 | [[gate]]
       | ^^^^^^^^
       |
       = help: write metric = "effective_rank_img" and min = 8.0, max, or both; then, as wanted, name, condition, where, share, min_seeds

    error: `min_seeds` cannot be 0
      --> sweeps/a.toml:15:13
       |
    15 | min_seeds = 0
       |             ^
       |
       = help: it takes a whole number from 1 to 1000000

    error: no value is at least 1 and at most 0
      --> sweeps/a.toml:18:7
       |
    18 | min = 1
       |       ^
       |
       = help: exchange `min` and `max`, or keep one of them

    error: `where` takes a table, not 3
      --> sweeps/a.toml:20:9
       |
    20 | where = 3
       |         ^
       |
       = help: write where = { "image.noise" = { max = 0.5 } }

    error: "B" cannot be a name
      --> sweeps/a.toml:21:8
       |
    21 | name = "B"
       |        ^^^
       |
       = help: a name is of lower-case letters, digits and hyphens, 64 at most, and of one gate only
    "#);
}

#[test]
fn gates_that_judge_nothing() {
    let text = "name = \"a\"\n[axes]\nseed = [0, 1]\nimage.noise = [0.0, 0.5]\n[[condition]]\nname = \"far\"\nimage.noise = 1.0\n\
                [[gate]]\nname = \"b\"\nmetric = \"lost\"\nmax = 0\nwhere = { image.noise = 0.7, image.blur = 1.0 }\n\
                [[gate]]\nname = \"b\"\nmetric = \"alignment\"\nmax = 0\nwhere = { image.noise = { min = 0.6 } }\n\
                [[gate]]\nmetric = \"cca_1\"\nmin = 0.5\ncondition = \"fair\"";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: 0.7 is not a level of `image.noise`
      --> sweeps/a.toml:12:25
       |
    12 | where = { image.noise = 0.7, image.blur = 1.0 }
       |                         ^^^
       |
       = help: its levels are 0.0, 0.5

    error: `image.blur` is not an axis of this spec
      --> sweeps/a.toml:12:36
       |
    12 | where = { image.noise = 0.7, image.blur = 1.0 }
       |                                    ^^^^
       |
       = help: the axes are image.noise, seed

    error: the gate "b" judges no cell
      --> sweeps/a.toml:13:1
       |
    13 | [[gate]]
       | ^^^^^^^^
       |
       = help: widen its `where`, or remove it: a gate that judges nothing could never pass

    error: there are two gates "b"
      --> sweeps/a.toml:14:8
       |
    14 | name = "b"
       |        ^^^
       |
       = help: give each a name of its own

    error: no cell that the gate judges measures `cca_1`
      --> sweeps/a.toml:19:10
       |
    19 | metric = "cca_1"
       |          ^^^^^^^
       |
       = help: set panel = "full"

    error: there is no condition "fair"
      --> sweeps/a.toml:21:13
       |
    21 | condition = "fair"
       |             ^^^^^^ the nearest is "far"
       |
       = help: the conditions are far, clean
    "#);
}

#[test]
fn conditions_that_cannot_be() {
    let text = "name = \"a\"\n[[condition]]\nname = \"b\"\n\"train.steps\" = 3\n[[condition]]\nname = \"clean\"\nimage.noise = 0.5\n\
                [[condition]]\nimage.noise = 0.5\n[[condition]]\nname = \"c\"\n[[condition]]\nname = \"c\"\nimage.nois = 0.5";
    let text = rendered(text, &[], &[]);
    // What the nearest parameter takes is told elsewhere.
    let (shown, _) = text.split_once("  = help: `image.noise`").expect("the last error");
    insta::assert_snapshot!(shown, @r#"
    error: a condition cannot change `train.steps`
     --> sweeps/a.toml:4:1
      |
    4 | "train.steps" = 3
      | ^^^^^^^^^^^^^
      |
      = help: the model is trained already: a condition changes what is observed, paired or scored, under image, text, pairing, confounder or score

    error: "clean" is always there
     --> sweeps/a.toml:6:8
      |
    6 | name = "clean"
      |        ^^^^^^^
      |
      = help: a name is of lower-case letters, digits and hyphens, 64 at most, and of one condition only; `clean` is the condition under which a cell was trained

    error: a condition has a name
     --> sweeps/a.toml:8:1
      |
    8 | [[condition]]
      | ^^^^^^^^^^^^^
      |
      = help: write a name and what differs: name = "noisy" and "image.noise" = 0.5

    error: the condition "c" changes nothing
      --> sweeps/a.toml:10:1
       |
    10 | [[condition]]
       | ^^^^^^^^^^^^^
       |
       = help: write a name and what differs: name = "noisy" and "image.noise" = 0.5

    error: there are two conditions "c"
      --> sweeps/a.toml:13:8
       |
    13 | name = "c"
       |        ^^^
       |
       = help: a name is of lower-case letters, digits and hyphens, 64 at most, and of one condition only; `clean` is the condition under which a cell was trained

    error: there is no parameter `image.nois`
      --> sweeps/a.toml:14:7
       |
    14 | image.nois = 0.5
       |       ^^^^ the nearest is `image.noise`
       |
    "#);
}

#[test]
fn a_condition_whose_wrong_pairs_nobody_sees() {
    let text = "name = \"a\"\n[[condition]]\nname = \"wrong-pairs\"\n\"pairing.rate\" = 0.5";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: under the condition "wrong-pairs", wrong pairs are in the training split, and it is measured on the test split
     --> sweeps/a.toml:2:1
      |
    2 | [[condition]]
      | ^^^^^^^^^^^^^
      |
      = help: add "pairing.applies_to" = "eval"
    "#);
}

#[test]
fn a_condition_that_breaks_a_rule() {
    let text = "name = \"a\"\n[world]\nn_test = 64\n[pairing]\nblock_size = 100\n[[condition]]\nname = \"blocks\"\n\
                pairing = { rate = 0.5, kind = \"block\", applies_to = \"eval\" }";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: under the condition "blocks", blocks of 100 samples do not fit the test split, which has 64
     --> sweeps/a.toml:6:1
      |
    6 | [[condition]]
      | ^^^^^^^^^^^^^
      |
      = help: lower pairing.block_size or enlarge the split
    "#);
}

#[test]
fn broken_toml() {
    let text = "name = \"a\"\n[train";
    insta::assert_snapshot!(rendered(text, &[], &[]), @r#"
    error: not valid TOML: unclosed table, expected `]`
     --> sweeps/a.toml:2:7
      |
    2 | [train
      |       ^
      |
      = help: see https://toml.io for the syntax
    "#);
}
