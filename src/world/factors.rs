//! The latent factors of a sample: their ranges, how they are drawn and how they are binned.

use std::f64::consts::TAU;

use crate::numerics::stream::Stream;

/// The outlines a sample can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Shape {
    Disc,
    Square,
    Triangle,
    Cross,
}

impl Shape {
    pub const ALL: [Shape; 4] = [Shape::Disc, Shape::Square, Shape::Triangle, Shape::Cross];

    /// `disc`, `square`, `triangle` or `cross`.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Disc => "disc",
            Shape::Square => "square",
            Shape::Triangle => "triangle",
            Shape::Cross => "cross",
        }
    }
}

/// The state behind one sample, drawn independently and uniformly over each factor's range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    pub shape: Shape,
    /// Direction of the texture, radians in `[0, 2 pi)`, circular: opposite directions are different states.
    pub orientation: f64,
    /// Frequency of the grating, cycles per image side.
    pub frequency: f64,
    /// Phase of the grating at the image centre, radians in `[0, 2 pi)`, circular.
    pub phase: f64,
    /// Thickness of the outline: standard deviation of its profile, image sides.
    pub thickness: f64,
}

impl Factors {
    /// The next five draws of `stream`, in the order of the fields.
    pub fn draw(stream: &mut Stream) -> Self {
        let shape = Shape::ALL[stream.below(Shape::ALL.len())];
        let mut draw = |factor: Factor| {
            let (low, high) = factor.range();
            low + (high - low) * stream.uniform()
        };
        Self {
            shape,
            orientation: draw(Factor::Orientation),
            frequency: draw(Factor::Frequency),
            phase: draw(Factor::Phase),
            thickness: draw(Factor::Thickness),
        }
    }
}

/// One of the five factors, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    Shape,
    Orientation,
    Frequency,
    Phase,
    Thickness,
}

impl Factor {
    pub const ALL: [Factor; 5] =
        [Factor::Shape, Factor::Orientation, Factor::Frequency, Factor::Phase, Factor::Thickness];

    pub fn name(self) -> &'static str {
        match self {
            Factor::Shape => "shape",
            Factor::Orientation => "orientation",
            Factor::Frequency => "frequency",
            Factor::Phase => "phase",
            Factor::Thickness => "thickness",
        }
    }

    /// Whether the two ends of the range are the same state.
    pub fn is_circular(self) -> bool {
        matches!(self, Factor::Orientation | Factor::Phase)
    }

    /// The half-open range that values are drawn from. Shape counts as its index.
    ///
    /// At 3 cycles an 8 x 8 image still has 2.7 pixels per cycle, above the 2 that sampling needs; below 1 cycle a
    /// grating and the shading that carries the orientation become hard to tell apart.
    pub fn range(self) -> (f64, f64) {
        match self {
            Factor::Shape => (0.0, Shape::ALL.len() as f64),
            Factor::Orientation | Factor::Phase => (0.0, TAU),
            Factor::Frequency => (1.0, 3.0),
            Factor::Thickness => (0.03, 0.10),
        }
    }

    /// How many equal-width bins the text operator has for it.
    pub fn bins(self) -> usize {
        match self {
            Factor::Shape => Shape::ALL.len(),
            Factor::Orientation | Factor::Phase => 16,
            Factor::Frequency | Factor::Thickness => 8,
        }
    }

    /// The factor's value in `factors`; shape counts as its index.
    pub fn value(self, factors: &Factors) -> f64 {
        match self {
            Factor::Shape => f64::from(factors.shape as u8),
            Factor::Orientation => factors.orientation,
            Factor::Frequency => factors.frequency,
            Factor::Phase => factors.phase,
            Factor::Thickness => factors.thickness,
        }
    }

    /// The factor's bin in `factors`, in `0..self.bins()`. Circular factors wrap around; other values outside the
    /// range count into the bin at that end.
    pub fn bin(self, factors: &Factors) -> usize {
        let (low, high) = self.range();
        let bins = self.bins() as f64;
        let place = ((self.value(factors) - low) / (high - low) * bins).floor();
        let place = if self.is_circular() { place.rem_euclid(bins) } else { place.clamp(0.0, bins - 1.0) };
        place as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    pub(crate) const PLAIN: Factors =
        Factors { shape: Shape::Disc, orientation: 0.0, frequency: 1.0, phase: 0.0, thickness: 0.03 };

    #[test]
    fn draws_fill_the_ranges_and_every_bin() {
        let mut stream = Streams::new(3, "test").item(0);
        let draws: Vec<Factors> = (0..2000).map(|_| Factors::draw(&mut stream)).collect();
        for factor in Factor::ALL {
            let (low, high) = factor.range();
            assert!(draws.iter().all(|f| (low..high).contains(&factor.value(f))));
            let mut seen = vec![false; factor.bins()];
            draws.iter().for_each(|f| seen[factor.bin(f)] = true);
            assert!(seen.iter().all(|&s| s), "{} leaves a bin empty", factor.name());
        }
    }

    #[test]
    fn bins_are_equal_width_and_wrap_only_for_circular_factors() {
        let at = |orientation: f64| Factor::Orientation.bin(&Factors { orientation, ..PLAIN });
        assert_eq!([at(0.0), at(TAU / 16.0), at(TAU * 0.999), at(TAU), at(-0.01)], [0, 1, 15, 0, 15]);
        let at = |frequency: f64| Factor::Frequency.bin(&Factors { frequency, ..PLAIN });
        assert_eq!([at(1.0), at(1.25), at(2.99), at(3.0), at(0.0)], [0, 1, 7, 7, 0]);
    }
}
