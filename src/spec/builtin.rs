//! The specs in `sweeps/`, compiled in so that the program alone can run them.

/// One spec that comes with the program.
pub struct Builtin {
    pub name: &'static str,
    pub text: &'static str,
}

/// Every built-in spec; a file of the same name under `./sweeps` takes precedence.
pub const BUILTINS: &[Builtin] = &[
    Builtin { name: "smoke", text: include_str!("../../sweeps/smoke.toml") },
    Builtin { name: "reference", text: include_str!("../../sweeps/reference.toml") },
    Builtin { name: "collapse", text: include_str!("../../sweeps/collapse.toml") },
    Builtin { name: "noise", text: include_str!("../../sweeps/noise.toml") },
    Builtin { name: "corruption", text: include_str!("../../sweeps/corruption.toml") },
    Builtin { name: "confounder", text: include_str!("../../sweeps/confounder.toml") },
    Builtin { name: "failures-baseline", text: include_str!("../../sweeps/failures-baseline.toml") },
    Builtin { name: "failures-capacity", text: include_str!("../../sweeps/failures-capacity.toml") },
    Builtin { name: "failures-collapse", text: include_str!("../../sweeps/failures-collapse.toml") },
    Builtin { name: "failures-confounder", text: include_str!("../../sweeps/failures-confounder.toml") },
    Builtin { name: "failures-confounder-only", text: include_str!("../../sweeps/failures-confounder-only.toml") },
    Builtin { name: "failures-control-dominance", text: include_str!("../../sweeps/failures-control-dominance.toml") },
    Builtin { name: "failures-control-shortcut", text: include_str!("../../sweeps/failures-control-shortcut.toml") },
    Builtin { name: "failures-control-pairing", text: include_str!("../../sweeps/failures-control-pairing.toml") },
    Builtin { name: "failures-control-collapse", text: include_str!("../../sweeps/failures-control-collapse.toml") },
    Builtin { name: "failures-input-gain", text: include_str!("../../sweeps/failures-input-gain.toml") },
    Builtin { name: "failures-noise", text: include_str!("../../sweeps/failures-noise.toml") },
    Builtin { name: "failures-output-gain", text: include_str!("../../sweeps/failures-output-gain.toml") },
    Builtin { name: "failures-pairing", text: include_str!("../../sweeps/failures-pairing.toml") },
    Builtin { name: "geometry-baseline", text: include_str!("../../sweeps/geometry-baseline.toml") },
    Builtin { name: "geometry-batch", text: include_str!("../../sweeps/geometry-batch.toml") },
    Builtin { name: "geometry-noise", text: include_str!("../../sweeps/geometry-noise.toml") },
    Builtin { name: "geometry-pairing", text: include_str!("../../sweeps/geometry-pairing.toml") },
    Builtin { name: "geometry-temperature", text: include_str!("../../sweeps/geometry-temperature.toml") },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Overrides, from_str};

    #[test]
    fn every_built_in_loads_under_its_own_name() {
        for builtin in BUILTINS {
            let sweep = from_str(builtin.text, builtin.name, &Overrides::default())
                .unwrap_or_else(|error| panic!("{}:\n{error}", builtin.name));
            assert_eq!(sweep.name, builtin.name);
            assert!(!sweep.description.is_empty(), "{} says what it asks", builtin.name);
        }
    }

    #[test]
    fn built_ins_are_the_files_of_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sweeps");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut names: Vec<String> = BUILTINS.iter().map(|builtin| format!("{}.toml", builtin.name)).collect();
        names.sort();
        assert_eq!(files, names);
    }

    #[test]
    fn sizes_are_what_the_comments_say() {
        let cells = |name: &str| {
            let builtin = BUILTINS.iter().find(|builtin| builtin.name == name).expect("a built-in");
            from_str(builtin.text, name, &Overrides::default()).expect("loads").cells.len()
        };
        assert_eq!(cells("smoke"), 36);
        assert_eq!(cells("reference"), 64);
        assert_eq!(cells("collapse"), 128);
        assert_eq!(cells("noise"), 100);
        // Rate 0 is kept for one of the four kinds: (6 x 4 + 1) x 4 seeds.
        assert_eq!(cells("corruption"), 100);
        // Strength 0 is kept for one of the two prevalences: (3 x 2 + 1) x 8 seeds.
        assert_eq!(cells("confounder"), 56);
        let of_laboratories = [
            ("geometry-baseline", 16),
            ("geometry-noise", 200),
            ("geometry-pairing", 168),
            ("geometry-temperature", 72),
            ("geometry-batch", 48),
            ("failures-baseline", 16),
            ("failures-input-gain", 256),
            ("failures-output-gain", 144),
            ("failures-noise", 256),
            ("failures-capacity", 256),
            ("failures-confounder", 400),
            ("failures-confounder-only", 128),
            ("failures-pairing", 784),
            ("failures-collapse", 960),
            ("failures-control-dominance", 128),
            ("failures-control-shortcut", 96),
            ("failures-control-pairing", 80),
            ("failures-control-collapse", 160),
        ];
        for (name, expected) in of_laboratories {
            assert_eq!(cells(name), expected, "{name}");
        }
    }
}
