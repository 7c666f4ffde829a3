//! What of a laboratory was fixed before its cells were trained: its sentences, its thresholds, its specs and seeds; and what
//! whoever runs it changed.
//!
//! A verdict is **registered** when its laboratory runs as it is written, on seeds that no threshold was chosen from,
//! nothing of the registration changed once cells were finished, and no cell was taken over from outside of the
//! laboratory. Otherwise it is **exploratory**: the rules that [`Registration::reasons`] applies.
//!
//! A record is written in two places: in the laboratory's manifest, and as a line of its log of directives. One that is
//! not the same in both, or whose hash is not that of what it records, counts as none.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::expectation::Expectation;
use super::family::{Family, Laboratory};
use super::matters::PILOT_SEEDS;
use crate::spec::Sweep;
use crate::store::Directive;

/// The axis that says which seeds there are: others than the laboratory's own change no threshold's meaning.
const SEED: &str = "seed";

/// The step of the log that records what is judged and by what.
pub const REGISTER_STEP: &str = "register";
/// The step of the log before which no cell of a family is trained.
pub const RUN_STEP: &str = "run";

/// Settings that change no cell.
const WORDS: [&str; 2] = ["name", "description"];

/// How a verdict is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Registered,
    Exploratory,
}

impl Standing {
    /// The word for tables and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Exploratory => "exploratory",
        }
    }
}

/// What the command line changed of a laboratory, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    pub quick: bool,
    pub set: Vec<String>,
    pub axis: Vec<String>,
}

/// A family as it was to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisteredFamily {
    pub sweep: String,
    pub spec_blake3: String,
    pub seeds: Vec<u64>,
    /// With their thresholds; they are in no hash of a spec.
    pub gates: Value,
}

/// What was to be judged, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    pub changes: Changes,
    pub families: Vec<RegisteredFamily>,
    /// Name, quantity, places, direction and smallest difference that matters of every sentence.
    pub sentences: Vec<Value>,
    /// The seeds that thresholds were chosen from.
    pub pilot_seeds: Vec<u64>,
    /// BLAKE3 of all above as JSON, 64 hex digits.
    pub blake3: String,
    /// When it was written into the laboratory's manifest.
    pub recorded_utc: String,
    /// Cells that were finished in its directory at that time.
    pub cells_before: u64,
    /// When it took the place of another although cells were finished; none where it did not.
    pub changed_utc: Option<String>,
}

impl Registration {
    /// Of a laboratory under these changes, recorded now; `cells` are finished in its directory, and `earlier` is what the
    /// manifest there has.
    pub fn new(
        laboratory: &Laboratory,
        sweeps: &[(&'static Family, Sweep)],
        changes: Changes,
        (now_utc, cells): (String, u64),
        earlier: Option<Self>,
    ) -> Self {
        let mut fresh = Self {
            changes,
            families: sweeps.iter().map(|(_, sweep)| family(sweep)).collect(),
            sentences: laboratory.expectations().map(sentence).collect(),
            pilot_seeds: PILOT_SEEDS.collect(),
            blake3: String::new(),
            recorded_utc: now_utc.clone(),
            cells_before: cells,
            changed_utc: None,
        };
        fresh.blake3 = fresh.hash(laboratory);
        match earlier {
            // A hash is worth what it is the hash of.
            Some(earlier) if earlier.blake3 == fresh.blake3 && earlier.hash(laboratory) == fresh.blake3 => earlier,
            // Of an older version's laboratory nothing says by what it was to be judged.
            _ if cells > 0 => Self { changed_utc: Some(now_utc), ..fresh },
            _ => fresh,
        }
    }

    /// BLAKE3 of what is judged, and by what, 64 hex digits.
    fn hash(&self, laboratory: &Laboratory) -> String {
        let of = json!([laboratory.name, self.changes, self.families, self.sentences, self.pilot_seeds]);
        blake3::hash(of.to_string().as_bytes()).to_hex().to_string()
    }

    /// The record as the log of directives has it: its hash, and what that does not cover.
    pub fn line(&self) -> String {
        let changed =
            self.changed_utc.as_ref().map_or(String::new(), |utc| format!(", in the place of another at {utc}"));
        format!("{}, recorded at {} over {} finished cells{changed}", self.blake3, self.recorded_utc, self.cells_before)
    }

    /// Whether the log of directives has this record; `redacted` takes out of a text what the log does not say.
    ///
    /// Logs of versions up to 0.1.0 have the hash alone. Of such a record the log can still tell when it was written,
    /// and whether cells may have been trained before.
    pub fn is_logged(&self, log: &[Directive], redacted: impl Fn(&str) -> String) -> bool {
        let is_register = |line: &Directive| line.step == REGISTER_STEP;
        let Some(last) = log.iter().rposition(is_register) else { return false };
        if log[last].text == redacted(&self.line()) {
            return true;
        }
        let own = redacted(&self.blake3);
        if log[last].text != own {
            return false;
        }
        // Where lines with this hash begin to follow one another.
        let before = log[..last].iter().rposition(|line| is_register(line) && line.text != own);
        let Some(began) =
            log.iter().enumerate().position(|(at, line)| before.is_none_or(|before| at > before) && is_register(line))
        else {
            return false;
        };
        let may_have_trained = log[..began].iter().any(|line| line.step == RUN_STEP);
        let after_another = before.is_none_or(|before| log[before].utc <= self.recorded_utc);
        after_another && self.recorded_utc <= log[began].utc && (self.changed_utc.is_some() || !may_have_trained)
    }

    /// Why the verdicts are exploratory; empty where they are registered. `outside` cells were taken over from runs
    /// outside of the laboratory.
    pub fn reasons(&self, outside: u64) -> Vec<String> {
        let mut reasons = Vec::new();
        let pilots = self.pilots();
        if !pilots.is_empty() {
            let (first, last) = (PILOT_SEEDS.start(), PILOT_SEEDS.end());
            let seeds: Vec<String> = pilots.iter().map(ToString::to_string).collect();
            reasons.push(format!(
                "it uses the seeds {} of those ({first} to {last}) that its thresholds were chosen from",
                seeds.join(", ")
            ));
        }
        let path = |text: &String| text.split('=').next().unwrap_or_default().trim().to_string();
        let set: Vec<&String> = self.changes.set.iter().filter(|set| !WORDS.contains(&path(set).as_str())).collect();
        let axis: Vec<&String> = self.changes.axis.iter().filter(|axis| path(axis) != SEED).collect();
        let flags =
            set.iter().map(|set| format!("--set {set}")).chain(axis.iter().map(|axis| format!("--axis {axis}")));
        let flags: Vec<String> = flags.collect();
        if !flags.is_empty() {
            reasons.push(format!("its sentences and thresholds were written for other settings: {}", flags.join(", ")));
        }
        if let Some(utc) = &self.changed_utc {
            reasons.push(format!(
                "what it is judged by was recorded at {utc}, when cells were finished that had been run under another record, \
                 or none"
            ));
        } else if self.cells_before > 0 {
            reasons.push(format!("{} of its cells were finished when it was recorded", self.cells_before));
        }
        if outside > 0 {
            reasons.push(format!(
                "{outside} of its cells were taken over from runs outside of this laboratory; they may have been trained \
                 before what they are judged by was recorded"
            ));
        }
        reasons
    }

    /// How verdicts are to be read where `outside` cells were taken over from runs outside of the laboratory.
    pub fn standing(&self, outside: u64) -> Standing {
        if self.reasons(outside).is_empty() { Standing::Registered } else { Standing::Exploratory }
    }

    /// What the user changed, a phrase each; empty for a laboratory as it is written.
    pub fn changed(&self) -> Vec<String> {
        let Changes { quick, set, axis } = &self.changes;
        let quick = quick.then(|| "--quick: fewer seeds and levels".to_string());
        let flags =
            set.iter().map(|set| format!("--set {set}")).chain(axis.iter().map(|axis| format!("--axis {axis}")));
        quick.into_iter().chain(flags).collect()
    }

    /// The seeds of all families together.
    pub fn seeds(&self) -> BTreeSet<u64> {
        self.families.iter().flat_map(|family| &family.seeds).copied().collect()
    }

    /// Those of its seeds that thresholds were chosen from.
    fn pilots(&self) -> Vec<u64> {
        self.seeds().into_iter().filter(|seed| self.pilot_seeds.contains(seed)).collect()
    }
}

fn family(sweep: &Sweep) -> RegisteredFamily {
    let levels = sweep.axes.iter().find(|axis| axis.path == SEED).map(|axis| sweep.all_levels(axis));
    let seeds = levels.map_or(vec![sweep.base.seed], |levels| levels.iter().filter_map(Value::as_u64).collect());
    RegisteredFamily { sweep: sweep.name.clone(), spec_blake3: sweep.hash(), seeds, gates: json!(sweep.gates) }
}

fn sentence(expectation: &Expectation) -> Value {
    let levels = |levels: &[super::Level]| levels.iter().copied().collect::<BTreeMap<&str, &str>>();
    json!({
        "name": expectation.name, "family": expectation.family, "quantity": expectation.quantity.label(),
        "at": levels(expectation.at.levels), "at_condition": expectation.at.condition,
        "against": levels(expectation.against.levels), "against_condition": expectation.against.condition,
        "expects": expectation.expects, "matters": expectation.matters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LABORATORIES;
    use crate::spec::{Overrides, load};

    const NOW: &str = "2026-11-20T10:00:00Z";
    const LATER: &str = "2026-11-21T10:00:00Z";

    fn registered(set: &[&str], axis: &[&str], at: &str, cells: u64, earlier: Option<Registration>) -> Registration {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect::<Vec<_>>();
        let overrides = Overrides { set: texts(set), axis: texts(axis) };
        let laboratory = LABORATORIES[0];
        let sweep =
            |family: &'static Family| (family, load(family.sweep, &overrides).unwrap_or_else(|e| panic!("{e}")));
        let sweeps: Vec<_> = laboratory.families.iter().take(1).map(sweep).collect();
        let changes = Changes { quick: false, set: texts(set), axis: texts(axis) };
        Registration::new(laboratory, &sweeps, changes, (at.to_string(), cells), earlier)
    }

    #[test]
    fn a_laboratory_as_it_is_written_is_registered() {
        let own = registered(&[], &[], NOW, 0, None);
        assert_eq!((own.standing(0), own.reasons(0).len(), own.changed().len()), (Standing::Registered, 0, 0));
        assert!(own.seeds().len() >= 8 && own.sentences.len() > 20 && own.pilot_seeds.len() == 16);
        // Other seeds than its own are no other laboratory, and stand among what was changed.
        let others = registered(&["description=x"], &["seed=200,201,202"], NOW, 0, None);
        assert_eq!(
            (others.standing(0), others.changed()),
            (Standing::Registered, vec!["--set description=x".to_string(), "--axis seed=200,201,202".to_string()])
        );
        assert_ne!(others.blake3, own.blake3);
    }

    #[test]
    fn pilot_seeds_and_other_settings_make_it_exploratory() {
        for (set, axis, word) in [
            (&[][..], &["seed=0,1,107"][..], "the seeds 107 of those (100 to 115)"),
            (&[], &["seed=seeds:3:114"], "the seeds 114, 115 of those"),
            (&["train.momentum=0.5"], &[], "--set train.momentum=0.5"),
            (&["name=mine", " train.momentum = 0.5"], &[], "settings: --set  train.momentum = 0.5"),
            (&[], &["train.steps=0,300,600"], "--axis train.steps=0,300,600"),
        ] {
            let of = registered(set, axis, NOW, 0, None);
            assert_eq!(of.standing(0), Standing::Exploratory, "{set:?} {axis:?}");
            assert!(of.reasons(0).iter().any(|reason| reason.contains(word)), "{:?}", of.reasons(0));
        }
    }

    #[test]
    fn a_record_stays_until_it_changes_and_a_late_one_is_exploratory() {
        let first = registered(&[], &[], NOW, 0, None);
        assert_eq!(registered(&[], &[], LATER, 40, Some(first.clone())), first, "the same command goes on");
        let more = registered(&[], &["seed=0,1,2"], LATER, 40, Some(first.clone()));
        assert_eq!((more.standing(0), more.changed_utc.as_deref()), (Standing::Exploratory, Some(LATER)));
        assert_eq!(registered(&[], &["seed=0,1,2"], LATER, 0, Some(first)).standing(0), Standing::Registered);
        assert_eq!(registered(&[], &[], LATER, 40, None).standing(0), Standing::Exploratory, "nothing was recorded");
    }

    #[test]
    fn cells_from_outside_make_it_exploratory() {
        let own = registered(&[], &[], NOW, 0, None);
        assert_eq!((own.standing(0), own.standing(1)), (Standing::Registered, Standing::Exploratory));
        assert!(own.reasons(3)[0].starts_with("3 of its cells were taken over from runs outside of this laboratory"));
    }

    #[test]
    fn a_record_with_the_right_hash_and_other_content_counts_as_none() {
        let first = registered(&[], &[], NOW, 0, None);
        let mut gates = first.clone();
        gates.families[0].gates = Value::Null;
        let mut sentences = first.clone();
        sentences.sentences.pop();
        let mut changes = first.clone();
        changes.changes.set.push("train.steps=1".to_string());
        for changed in [gates, sentences, changes] {
            assert_eq!(changed.blake3, first.blake3);
            let again = registered(&[], &[], LATER, 40, Some(changed));
            assert_eq!((again.standing(0), again.changed_utc.as_deref()), (Standing::Exploratory, Some(LATER)));
        }
        // A record of cells that were there says so, whatever became of the time at which it was changed.
        let late = Registration { changed_utc: None, ..registered(&[], &[], LATER, 40, None) };
        assert_eq!(late.standing(0), Standing::Exploratory);
    }

    fn line(step: &str, utc: &str, text: &str) -> Directive {
        let [step, utc, text] = [step, utc, text].map(String::from);
        Directive {
            version: 2,
            utc,
            step,
            description: String::new(),
            text,
            text_blake3: None,
            text_keyed_blake3: None,
        }
    }

    #[test]
    fn the_log_tells_a_record_from_one_that_was_made_up() {
        let logged = |record: &Registration, log: &[Directive]| record.is_logged(log, str::to_string);
        let first = registered(&[], &[], NOW, 0, None);
        let late = registered(&[], &[], LATER, 40, None);
        let log = [line(REGISTER_STEP, NOW, &first.line()), line(RUN_STEP, NOW, "")];
        assert!(logged(&first, &log) && !logged(&first, &[]) && !logged(&first, &log[1..]));
        let later = [line(RUN_STEP, NOW, ""), line(REGISTER_STEP, LATER, &late.line())];
        assert!(logged(&late, &later));
        for made_up in [
            Registration { changed_utc: None, ..late.clone() },
            Registration { changed_utc: None, cells_before: 0, ..late.clone() },
            Registration { recorded_utc: NOW.to_string(), ..late.clone() },
        ] {
            assert!(!logged(&made_up, &later), "{made_up:?}");
        }
        // What the log leaves out is left out of both.
        let log = [line(REGISTER_STEP, NOW, &first.line().replace("2026", "<redacted>"))];
        assert!(first.is_logged(&log, |text| text.replace("2026", "<redacted>")));
    }

    #[test]
    fn a_log_with_hashes_alone_still_tells_a_late_record() {
        let logged = |record: &Registration, log: &[Directive]| record.is_logged(log, str::to_string);
        let first = registered(&[], &[], NOW, 0, None);
        let own = |utc: &str| line(REGISTER_STEP, utc, &first.blake3);
        let begun = [own(NOW), line(RUN_STEP, NOW, "")];
        let gone_on = [&begun[..], &[own(LATER), line(RUN_STEP, LATER, "")]].concat();
        assert!(logged(&first, &begun) && logged(&first, &gone_on));
        assert!(!logged(&Registration { recorded_utc: LATER.to_string(), ..first.clone() }, &begun));
        // Under another record cells were trained before.
        let other = [line(REGISTER_STEP, NOW, "ab"), line(RUN_STEP, NOW, ""), own(LATER)];
        let late =
            Registration { recorded_utc: LATER.to_string(), changed_utc: Some(LATER.to_string()), ..first.clone() };
        assert!(logged(&late, &other));
        assert!(!logged(&Registration { changed_utc: None, ..late.clone() }, &other));
        assert!(!logged(&first, &other), "the other one was recorded since");
    }
}
