//! A picture with its text alternative and its data.

/// Where in the report a picture belongs, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    Surfaces,
    Degradation,
    Margins,
    LeadLag,
    Geometry,
    Training,
}

impl Section {
    pub const ALL: [Self; 6] =
        [Self::Surfaces, Self::Degradation, Self::Margins, Self::LeadLag, Self::Geometry, Self::Training];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Surfaces => "Degradation surfaces",
            Self::Degradation => "Degradation curves",
            Self::Margins => "Margins and boundaries",
            Self::LeadLag => "Which breaks first",
            Self::Geometry => "Geometry of single cells",
            Self::Training => "Training",
        }
    }
}

/// The numbers of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub header: Vec<String>,
    /// As long as the header.
    pub rows: Vec<Vec<String>>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    pub section: Section,
    /// Of the file, without its end: lower-case letters, digits and hyphens; unique in a report.
    pub name: String,
    pub title: String,
    /// What it shows to those who do not see it: the finding, in a sentence or two, with its numbers.
    pub alt: String,
    /// What it is: units, over how many seeds, what bands mean, what was left out and how many.
    pub caption: String,
    /// A document of its own.
    pub svg: String,
    pub data: Data,
}

impl Data {
    /// Comma-separated values, quoted where they must be.
    pub fn csv(&self) -> String {
        let quoted = |field: &String| {
            let plain = !field.contains([',', '"', '\n', '\r']);
            if plain { field.clone() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
        };
        let line = |fields: &Vec<String>| fields.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.header).chain(&self.rows).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let row = |fields: [&str; 2]| fields.map(String::from).to_vec();
        let data = Data { header: row(["a", "b"]), rows: vec![row(["1,5", "say \"no\""]), row(["", "x"])] };
        assert_eq!(data.csv(), "a,b\n\"1,5\",\"say \"\"no\"\"\"\n,x\n");
    }
}
