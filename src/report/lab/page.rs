//! The page of a laboratory.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::pictures::LabPictures;
use crate::lab::attribution::{CaseReport, Opinion, Validation, Verdict as Attributed, View};
use crate::lab::{
    ACCEPTANCE, FamilyDocument, Finding, LabDocument, Margin, Origin, Outcome, OutcomeRow, PILOT_SEEDS, Standing,
    Verdict,
};
use crate::numerics::estimate::method;
use crate::numerics::shown::{Levels, rounded};
use crate::report::figure::Figure;
use crate::report::glance::words;
use crate::report::page::{document, embed};
use crate::report::svg::escape;
use crate::spec::CLEAN;

/// Rows of a table that are on the page; the run's own tables have all.
const MOST_ROWS: usize = 120;

/// The page.
pub fn lab_page(lab: &LabDocument, pictures: &LabPictures) -> String {
    let mut body = String::new();
    head(&mut body, lab);
    body.push_str("<main id=\"main\" tabindex=\"-1\">\n");
    glance(&mut body, lab);
    for family in &lab.families {
        section(&mut body, lab, family, pictures);
    }
    if lab.attribution.is_some() || lab.attribution_missing.is_some() {
        attribution(&mut body, lab, pictures.attribution.as_ref());
    }
    let _ = writeln!(
        body,
        "</main>\n<footer><p>{}</p><p>Made by cliffline from the tables of {} runs, each of which has a report of its own.</p></footer>",
        escape(lab.verification_statement),
        lab.families.len()
    );
    document(&format!("{}: Cliffline", lab.title), &body)
}

fn head(out: &mut String, lab: &LabDocument) {
    let _ = writeln!(
        out,
        "<header>\n<div class=\"top\"><h1>{}</h1><button id=\"theme\" type=\"button\" hidden>Dark or light</button></div>\n\
         {}<p class=\"lead\">{} Source: {}.</p>\n<p class=\"statement\">{}</p>",
        escape(lab.title),
        departures(lab),
        escape(lab.about),
        escape(lab.source),
        escape(lab.verification_statement)
    );
    if lab.quick {
        out.push_str("<p class=\"note\">This is the quick version: fewer seeds and levels, intervals that are wider for it, more that stays undecided.</p>\n");
    }
    if !lab.complete {
        out.push_str("<p class=\"statement\">Not every cell is finished; what follows is of those that are.</p>\n");
    }
    out.push_str("</header>\n<nav aria-label=\"Sections\"><ul><li><a href=\"#glance\">At a glance</a></li>");
    for family in &lab.families {
        let _ = write!(out, "<li><a href=\"#{}\">{}</a></li>", family.sweep, escape(family.title));
    }
    if lab.attribution.is_some() {
        out.push_str("<li><a href=\"#attribution-of-mechanism\">Attribution</a></li>");
    }
    out.push_str("</ul></nav>\n");
}

/// What the user changed, and why the verdicts are exploratory: before anything else is said. Empty for a laboratory as it
/// is written.
fn departures(lab: &LabDocument) -> String {
    let list = |head: &str, items: &[String]| {
        let items: String = items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
        format!("<p class=\"statement\">{head}</p>\n<ul>{items}</ul>\n")
    };
    let mut out = String::new();
    if !lab.changed.is_empty() {
        out.push_str(&list("Changed on the command line, from the laboratory as it is written:", &lab.changed));
    }
    if lab.standing == Standing::Exploratory {
        out.push_str(&list("The verdicts on this page are exploratory:", &lab.why_exploratory));
    }
    out
}

/// When what is judged was fixed, as far as it is known.
fn recorded(lab: &LabDocument) -> String {
    let utc = &lab.registration.recorded_utc;
    match lab.standing {
        Standing::Registered => {
            format!("They and their thresholds were recorded here at {utc}, before a cell of it was trained.")
        }
        Standing::Exploratory => format!(
            "They and their thresholds were recorded here at {utc}; why that does not make their verdicts registered \
             stands at the head of this page."
        ),
    }
}

/// Number of findings with a verdict.
fn count(lab: &LabDocument, verdict: Verdict) -> usize {
    lab.verdicts.get(&verdict).copied().unwrap_or(0)
}

fn glance(out: &mut String, lab: &LabDocument) {
    out.push_str("<section aria-labelledby=\"glance\">\n<h2 id=\"glance\">The laboratory at a glance</h2>\n<ul class=\"counts\">");
    for verdict in Verdict::ALL {
        let n = count(lab, verdict);
        if n > 0 {
            let _ = write!(out, "<li><b>{n}</b> {}</li>", verdict.words());
        }
    }
    out.push_str("</ul>\n");
    let with = lab.findings.iter().filter(|finding| finding.low.is_some());
    let how = method(with.map(|finding| finding.seeds)).map_or(String::new(), |how| {
        format!(
            " Intervals: {how}. They are of single tests: of {} some exclude an effect by chance.",
            lab.findings.len()
        )
    });
    let _ = writeln!(
        out,
        "<p>{} sentences stand in the program as tests, chosen after pilots on the seeds {} to {}: a quantity, two places whose cells are paired by \
         seed, a direction and the smallest difference that matters. {} A sentence agrees when the mean difference is as expected \
         and matters and its 95% interval stays on that side; it disagrees when an effect that matters is outside of the interval.{how}</p>",
        lab.findings.len(),
        PILOT_SEEDS.start(),
        PILOT_SEEDS.end(),
        escape(&recorded(lab))
    );
    for origin in Origin::ALL {
        let of: Vec<&Finding> = lab.findings.iter().filter(|f| f.origin == origin).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "<h3>{}</h3>", capitalised(origin.words()));
        for verdict in [Verdict::Agrees, Verdict::TooSmall, Verdict::Disagrees] {
            let found: Vec<&&Finding> = of.iter().filter(|f| f.verdict == verdict).collect();
            if !found.is_empty() {
                let exploratory = if lab.standing == Standing::Exploratory { ", exploratory" } else { "" };
                let _ = writeln!(
                    out,
                    "<h4>{} ({} of {}{exploratory})</h4>\n<ul>",
                    heading(origin, verdict),
                    found.len(),
                    of.len()
                );
                found.iter().for_each(|finding| sentence(out, finding));
                out.push_str("</ul>\n");
            }
        }
        let open = of.iter().filter(|f| matches!(f.verdict, Verdict::Undecided | Verdict::NotMeasured));
        let open: Vec<String> = open.map(|f| format!("{} ({})", f.name, f.verdict.words())).collect();
        if !open.is_empty() {
            let _ = writeln!(
                out,
                "<p class=\"note\">Open, {} of {}: {}.</p>",
                open.len(),
                of.len(),
                escape(&open.join(", "))
            );
        }
    }
    checks(out, &lab.checks);
    families(out, lab);
    out.push_str("</section>\n");
}

/// What a verdict on a sentence means.
fn heading(origin: Origin, verdict: Verdict) -> &'static str {
    match (origin, verdict) {
        (Origin::May, Verdict::Agrees) => "Happens here",
        (_, Verdict::TooSmall) => "Happens here, by less than matters",
        (Origin::May, _) => "Does not happen here",
        (_, Verdict::Agrees) => "Is so here",
        (_, _) => "Is not so here",
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A finding as an item of a list.
fn sentence(out: &mut String, finding: &Finding) {
    let why = finding.explanation.map_or(String::new(), |why| format!(" To know: {}", escape(why)));
    let _ = writeln!(
        out,
        "<li>{} <span class=\"note\">({}) {}{why}</span></li>",
        escape(finding.says),
        finding.source,
        escape(&numbers(finding))
    );
}

/// A place in words.
fn at(levels: &BTreeMap<&str, &str>, condition: &str) -> String {
    let levels: Vec<String> = levels.iter().map(|(path, level)| format!("{path} {level}")).collect();
    let under = if condition == CLEAN { String::new() } else { format!(" under {condition}") };
    let levels = if levels.is_empty() { "the reference".to_string() } else { levels.join(", ") };
    format!("{levels}{under}")
}

/// The numbers of a finding in words.
fn numbers(finding: &Finding) -> String {
    let (Some(difference), Some(low), Some(high)) = (finding.difference, finding.low, finding.high) else {
        return format!("{}: {} seeds have a value at both places.", finding.quantity, finding.seeds);
    };
    let number = |x: Option<f64>| x.map_or("no value".to_string(), rounded);
    let missing = match finding.without_value {
        0 => String::new(),
        n => format!(", {n} seeds without a value"),
    };
    // A quantity that is a difference itself is compared with no other place.
    let against = match finding.against_condition {
        "" => String::new(),
        condition => format!(" and {} at {}", number(finding.mean_against), at(&finding.against, condition)),
    };
    format!(
        "{}: {} at {}{against}, difference {} [{}, {}] over {} seeds{missing}; expected {}, and {} matters.",
        finding.quantity,
        number(finding.mean_at),
        at(&finding.at, finding.at_condition),
        rounded(difference),
        rounded(low),
        rounded(high),
        finding.seeds,
        finding.expects.words(),
        rounded(finding.matters)
    )
}

fn checks(out: &mut String, checks: &Value) {
    let gradients = &checks["gradients"];
    let same = if checks["determinism"]["same_bits"] == Value::Bool(true) { "has the same bits" } else { "differs" };
    let _ = writeln!(
        out,
        "<h3>Before the experiments</h3>\n<p>{} gradient checks against autodiff and derivatives in f64, {} of them wrong, the worst at \
         {} of its tolerance. A cell trained twice {same}.</p>",
        gradients["checks"],
        gradients["wrong"],
        gradients["worst_share_of_tolerance"].as_f64().map_or("no value".to_string(), rounded),
    );
}

fn families(out: &mut String, lab: &LabDocument) {
    out.push_str(
        "<h3>The runs</h3>\n<div class=\"scroll gates\" tabindex=\"0\" role=\"region\" aria-label=\"The runs\"><table><thead><tr>\
         <th scope=\"col\">Run</th><th scope=\"col\">Cells</th><th scope=\"col\">Seeds</th><th scope=\"col\">Acceptance</th>\
         <th scope=\"col\">Report</th></tr></thead><tbody>\n",
    );
    for family in &lab.families {
        let counts: Vec<String> =
            family.by_status.iter().filter(|(_, n)| **n > 0).map(|(status, n)| format!("{n} {status}")).collect();
        let verdict = family.acceptance.as_deref().unwrap_or("maps margins");
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\"><a href=\"#{0}\">{1}</a></th><td>{2}</td><td>{3}</td><td class=\"verdict {4}\">{5}</td>\
             <td><a href=\"{6}/report.html\">{0}</a></td></tr>",
            family.sweep,
            escape(family.title),
            escape(&counts.join(", ")),
            family.seeds,
            escape(verdict),
            escape(&words(verdict)),
            escape(&family.dir)
        );
    }
    out.push_str("</tbody></table></div>\n");
}

fn section(out: &mut String, lab: &LabDocument, family: &FamilyDocument, pictures: &LabPictures) {
    let _ = writeln!(
        out,
        "<section aria-labelledby=\"{0}\">\n<h2 id=\"{0}\">{1}</h2>\n<p class=\"lead\">{2} <a href=\"{3}/report.html\">All pictures of \
         this run</a>.</p>",
        family.sweep,
        escape(family.title),
        escape(family.asks),
        escape(&family.dir)
    );
    gates(out, family);
    if let Some(figure) = pictures.findings.get(family.sweep) {
        embed(out, figure);
        out.push_str("<details><summary>Every finding in words</summary><ul>\n");
        for finding in lab.findings.iter().filter(|f| f.family == family.sweep) {
            let _ = writeln!(
                out,
                "<li><b>{}</b>: {} {} <span class=\"note\">({}) {}</span></li>",
                escape(finding.name),
                escape(finding.says),
                escape(&finding.verdict_words()),
                finding.source,
                escape(&numbers(finding))
            );
        }
        out.push_str("</ul></details>\n");
    }
    pictures.of_runs.get(family.sweep).into_iter().flatten().for_each(|figure| embed(out, figure));
    outcomes(out, family);
    out.push_str("</section>\n");
}

/// Acceptance, and what does not pass of it; then how far the other constraints hold.
fn gates(out: &mut String, family: &FamilyDocument) {
    let list = family.gates["gates"].as_array().map_or(&[][..], Vec::as_slice);
    let decides = |gate: &&Value| gate["name"].as_str().is_some_and(|name| name.starts_with(ACCEPTANCE));
    let (deciding, mapped): (Vec<&Value>, Vec<&Value>) = list.iter().partition(decides);
    if let Some(verdict) = &family.acceptance {
        let passed = deciding.iter().filter(|gate| gate["verdict"] == "pass").count();
        let _ = writeln!(
            out,
            "<p>Acceptance: <span class=\"verdict {}\">{}</span>, {passed} of {} gates pass.</p>",
            escape(verdict),
            escape(&words(verdict)),
            deciding.len()
        );
        let others: Vec<&Value> = deciding.into_iter().filter(|gate| gate["verdict"] != "pass").collect();
        if !others.is_empty() {
            out.push_str("<ul>\n");
            for gate in others {
                let verdict = gate["verdict"].as_str().unwrap_or_default();
                let _ = writeln!(
                    out,
                    "<li>{}: <span class=\"verdict {}\">{}</span>{}</li>",
                    escape(gate["name"].as_str().unwrap_or_default()),
                    escape(verdict),
                    escape(&words(verdict)),
                    escape(&worst(family, &gate["worst"]))
                );
            }
            out.push_str("</ul>\n");
        }
    }
    if !mapped.is_empty() {
        margins(out, family);
    }
}

fn worst(family: &FamilyDocument, found: &Value) -> String {
    let Some(levels) = found["levels"].as_object().filter(|levels| !levels.is_empty()) else { return String::new() };
    let level = |(path, level): (&String, &Value)| format!("{path} {}", shown(family, path).text(level));
    let levels: Vec<String> = levels.iter().map(level).collect();
    format!(", worst at {}", levels.join(", "))
}

/// How the levels of an axis are written, by those of the outcomes.
fn shown(family: &FamilyDocument, path: &str) -> Levels {
    let at = family.table.axes.iter().position(|axis| axis == path);
    at.map_or(Levels::EXACT, |at| Levels::of(family.table.rows.iter().filter_map(|row| row.levels.get(at))))
}

/// Where each constraint holds along each axis, from the reference on.
fn margins(out: &mut String, family: &FamilyDocument) {
    let own: Vec<&Margin> = family.margins.iter().filter(|margin| !margin.constraint.starts_with(ACCEPTANCE)).collect();
    if own.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<details><summary>Margins: where each constraint holds for every seed</summary><p class=\"note\">Along one axis, the others \
         at the reference; the widest run of tested levels. These constraints fail \
         somewhere by design: how far they hold is the result. Boundaries with intervals, and which constraint fails first, are in the run's report.</p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Margins of {}\"><table class=\"data\"><thead><tr>\
         <th scope=\"col\">constraint</th><th scope=\"col\">axis</th><th scope=\"col\">holds from</th><th scope=\"col\">to</th>\
         <th scope=\"col\">seeds</th></tr></thead><tbody>",
        escape(family.title)
    );
    for margin in own {
        let along = shown(family, &margin.axis);
        let ends = margin.holds.map(|ends| ends.map(|end| along.number(end)));
        let [low, high] = ends.unwrap_or(["nowhere".to_string(), String::new()]);
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{low}</td><td>{high}</td><td>{}</td></tr>",
            escape(&margin.constraint),
            escape(&margin.axis),
            margin.seeds
        );
    }
    out.push_str("</tbody></table></div></details>\n");
}

fn outcomes(out: &mut String, family: &FamilyDocument) {
    let table = &family.table;
    let shown = table.rows.len().min(MOST_ROWS);
    let left_out = match table.rows.len() - shown {
        0 => String::new(),
        n => format!("; {n} more are in lab.json"),
    };
    let counts = table.rows.iter().flat_map(|row| &row.outcomes).filter(|outcome| outcome.low.is_some());
    let intervals =
        method(counts.map(|outcome| outcome.n)).map_or(String::new(), |how| format!(" with 95% intervals ({how})"));
    let _ = writeln!(
        out,
        "<h3>Outcomes</h3>\n<p class=\"note\">Means over seeds{intervals}; the reference row is marked. {shown} rows{left_out}.</p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Outcomes of {}\"><table class=\"data\"><thead><tr><th \
         scope=\"col\">condition</th>",
        escape(family.title)
    );
    for name in table.axes.iter().chain(&table.quantities) {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>\n");
    let levels: Vec<Levels> = table.axes.iter().map(|path| self::shown(family, path)).collect();
    table.rows.iter().take(shown).for_each(|row| outcome_row(out, row, &levels));
    out.push_str("</tbody></table></div>\n");
}

fn outcome_row(out: &mut String, row: &OutcomeRow, shown: &[Levels]) {
    let class = if row.reference { " class=\"found\"" } else { "" };
    let _ = write!(out, "<tr{class}><td>{}</td>", escape(&row.condition));
    for (level, shown) in row.levels.iter().zip(shown) {
        let _ = write!(out, "<td>{}</td>", escape(&shown.text(level)));
    }
    for outcome in &row.outcomes {
        let _ = write!(out, "<td>{}</td>", escape(&value(outcome)));
    }
    out.push_str("</tr>\n");
}

fn value(outcome: &Outcome) -> String {
    let Some(mean) = outcome.mean else { return format!("none of {}", outcome.missing) };
    let interval = outcome
        .low
        .zip(outcome.high)
        .map_or(String::new(), |(low, high)| format!(" [{}, {}]", rounded(low), rounded(high)));
    let missing = if outcome.missing > 0 { format!(" ({} missing)", outcome.missing) } else { String::new() };
    format!("{}{interval}{missing}", rounded(mean))
}

fn attribution(out: &mut String, lab: &LabDocument, figure: Option<&Figure>) {
    out.push_str(
        "<section aria-labelledby=\"attribution-of-mechanism\">\n<h2 id=\"attribution-of-mechanism\">Attribution of mechanism</h2>\n",
    );
    if let Some(why) = &lab.attribution_missing {
        let _ = writeln!(out, "<p>Nothing is attributed: {}.</p></section>", escape(why));
        return;
    }
    let Some(validation) = &lab.attribution else { return };
    let _ = writeln!(
        out,
        "<p class=\"lead\">From the panel of one cell: which mechanism is supported, or that the evidence does not tell. Calibrated on \
         the seeds {}, judged on the seeds {}.</p>",
        seeds(&validation.calibration_seeds),
        seeds(&validation.validation_seeds)
    );
    accuracies(out, validation);
    if let Some(figure) = figure {
        embed(out, figure);
    }
    cases(out, validation);
    out.push_str("</section>\n");
}

fn seeds(seeds: &[i64]) -> String {
    match (seeds.first(), seeds.last()) {
        (Some(first), Some(last)) if seeds.len() > 2 => format!("{first} to {last}"),
        _ => seeds.iter().map(i64::to_string).collect::<Vec<_>>().join(" and "),
    }
}

fn accuracies(out: &mut String, validation: &Validation) {
    let shares = || validation.views.iter().flat_map(|view| view.roles.iter().map(|role| role.balanced_accuracy));
    let shares = shares().chain(validation.views.iter().map(|view| view.balanced_accuracy)).flatten();
    if let Some(how) = method(shares.filter(|share| share.low.is_some()).map(|share| share.n)) {
        let _ = writeln!(out, "<p class=\"note\">Intervals of balanced accuracy, over seeds: {how}.</p>");
    }
    out.push_str(
        "<div class=\"scroll gates\" tabindex=\"0\" role=\"region\" aria-label=\"Accuracy\"><table><thead><tr><th scope=\"col\">Judged \
         by</th><th scope=\"col\">On</th><th scope=\"col\">Cells</th><th scope=\"col\">Right</th><th scope=\"col\">Not told</th>\
         <th scope=\"col\">Right if it had to tell</th><th scope=\"col\">Balanced accuracy [95%]</th></tr></thead><tbody>\n",
    );
    for view in &validation.views {
        for role in &view.roles {
            let share =
                role.balanced_accuracy.map_or("none".to_string(), |share| interval(share.mean, share.low, share.high));
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{share}</td></tr>",
                view.view.words(),
                role.role.words(),
                role.cells,
                role.right,
                role.insufficient,
                role.right_if_told
            );
        }
    }
    out.push_str("</tbody></table></div>\n");
    if let Some(gain) = validation.gain {
        let _ = writeln!(
            out,
            "<p>The panel's balanced accuracy less that of retrieval and loss alone, paired by seed: {}.</p>",
            interval(gain.mean, gain.low, gain.high)
        );
    }
}

fn interval(mean: f64, low: Option<f64>, high: Option<f64>) -> String {
    low.zip(high)
        .map_or_else(|| rounded(mean), |(low, high)| format!("{} [{}, {}]", rounded(mean), rounded(low), rounded(high)))
}

fn cases(out: &mut String, validation: &Validation) {
    let _ = writeln!(
        out,
        "<details><summary>Every case</summary><p class=\"note\">{} cases are not in these runs. For instance: of the first seed, what adds most to \
         the odds of the likeliest mechanism in the regression, and what takes most from them; odds are moved by distance from \
         the healthy value in either direction.</p>\n<div class=\"scroll\" tabindex=\"0\" \
         role=\"region\" aria-label=\"Cases\"><table class=\"data\"><thead><tr><th scope=\"col\">Done</th><th scope=\"col\">Where</th>\
         <th scope=\"col\">Judged on</th><th scope=\"col\">Right</th><th scope=\"col\">Right by retrieval and loss</th>\
         <th scope=\"col\">Not told</th><th scope=\"col\">For instance</th></tr></thead><tbody>",
        validation.absent
    );
    validation.cases.iter().for_each(|case| case_row(out, case));
    out.push_str("</tbody></table></div></details>\n");
}

fn case_row(out: &mut String, case: &CaseReport) {
    let levels: Vec<String> = case.levels.iter().map(|(path, level)| format!("{path} {level}")).collect();
    let at = if levels.is_empty() { case.family.to_string() } else { levels.join(", ") };
    let of = |counts: &BTreeMap<View, u64>, view| counts.get(&view).copied().unwrap_or(0);
    let _ = writeln!(
        out,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{} of {}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        case.mechanism.words(),
        escape(&at),
        case.role.words(),
        of(&case.right, View::Panel),
        case.cells,
        of(&case.right, View::RetrievalAndLoss),
        of(&case.insufficient, View::Panel),
        escape(&case.example.as_ref().map_or(String::new(), opinion))
    );
}

/// An opinion in words.
fn opinion(opinion: &Opinion) -> String {
    let verdict = match opinion.verdict {
        Attributed::Supported(mechanism) => format!("{} supported", mechanism.words()),
        Attributed::InsufficientEvidence => "insufficient evidence".to_string(),
    };
    let why = opinion.reason.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let list = |evidence: &[crate::lab::attribution::Evidence]| {
        let each = evidence
            .iter()
            .take(2)
            .map(|e| format!("{} {} where {} is healthy", e.indicator, rounded(e.value), rounded(e.baseline)));
        each.collect::<Vec<_>>().join("; ")
    };
    let (yes, no) = (list(&opinion.evidence_for), list(&opinion.evidence_against));
    format!("{verdict}{why}. Adds most to its odds: {yes}. Takes most: {no}.")
}
