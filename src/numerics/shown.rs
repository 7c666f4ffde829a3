//! Numbers as people read them, in one way wherever one is shown: terminal, verdicts, page, pictures.
//!
//! A value is rounded to [`DIGITS`] significant digits ([`rounded`]). A level has as many more as tell it from the others
//! of its list ([`Levels`]), and all of them where it stands alone or a machine reads it ([`exact`], [`level`]). A whole
//! number that is one by its type is never rounded.
//!
//! **Numerics.** What is rounded is the shortest decimal that reads back as the number, halves away from zero: what people
//! do with the number before them. Rounding never turns the order of two numbers. The page's script does the same
//! (`shown` in `page.js`), so a number reads alike wherever it is rounded.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// Significant digits of values; files have all of them.
pub const DIGITS: usize = 4;

/// Digits after which every double is told from its neighbours.
const ALL_DIGITS: usize = 17;

/// Decimal exponents of numbers that are written without one, from 0.0001 up to below a million: beyond, zeros would fill
/// the number.
const PLAIN: std::ops::RangeInclusive<i32> = -4..=5;

/// A positive number as `d.ddd` times a power of ten, without zeros at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    /// ASCII digits, at least one.
    digits: String,
    exponent: i32,
}

impl Decimal {
    /// The shortest that reads back as the magnitude of `x`.
    fn shortest(x: f64) -> Self {
        let text = format!("{:e}", x.abs());
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        Self { digits: digits.replace('.', ""), exponent: exponent.parse().unwrap_or(0) }
    }

    /// To so many digits, halves up. The part before the decimal point stays whole where it is written out.
    fn rounded(mut self, digits: usize) -> Self {
        let whole = if PLAIN.contains(&self.exponent) { (self.exponent + 1).max(1) as usize } else { 1 };
        let kept = digits.max(whole);
        if self.digits.len() > kept {
            let up = self.digits.as_bytes()[kept] >= b'5';
            self.digits.truncate(kept);
            if up {
                self.step_up();
            }
        }
        self.digits.truncate(self.digits.trim_end_matches('0').len().max(1));
        self
    }

    /// Adds one to the last digit.
    fn step_up(&mut self) {
        let nines = self.digits.len() - self.digits.trim_end_matches('9').len();
        self.digits.truncate(self.digits.len() - nines);
        match self.digits.pop() {
            Some(digit) => self.digits.push(char::from(digit as u8 + 1)),
            None => (self.digits, self.exponent) = ("1".to_string(), self.exponent + 1),
        }
    }

    fn text(&self) -> String {
        let Self { digits, exponent } = self;
        if !PLAIN.contains(exponent) {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            return format!("{first}{point}{rest}e{exponent}");
        }
        match usize::try_from(exponent + 1) {
            Err(_) | Ok(0) => format!("0.{}{digits}", "0".repeat((-exponent - 1).max(0) as usize)),
            Ok(before) if digits.len() <= before => format!("{digits}{}", "0".repeat(before - digits.len())),
            Ok(before) => format!("{}.{}", &digits[..before], &digits[before..]),
        }
    }
}

/// A number to so many significant digits; the part before the decimal point stays whole below a million.
pub fn rounded_to(x: f64, digits: usize) -> String {
    if x.is_nan() {
        return "no value".to_string();
    }
    let sign = if x < 0.0 { "-" } else { "" };
    if x.is_infinite() {
        return format!("{sign}infinite");
    }
    if x == 0.0 {
        return "0".to_string();
    }
    format!("{sign}{}", Decimal::shortest(x).rounded(digits).text())
}

/// A value: to [`DIGITS`] significant digits.
///
/// ```
/// use cliffline::numerics::shown::rounded;
/// assert_eq!([0.103239118, 1e-9, 12345.67, 2.5e7].map(rounded), ["0.1032", "1e-9", "12346", "2.5e7"]);
/// ```
pub fn rounded(x: f64) -> String {
    rounded_to(x, DIGITS)
}

/// With all digits: it reads back as the same number.
pub fn exact(x: f64) -> String {
    rounded_to(x, ALL_DIGITS)
}

/// A finite number as [`rounded_to`] writes it: an integer without zeros at its end, and the power of ten that it is
/// multiplied by.
pub fn integer_and_power(x: f64, digits: usize) -> (i64, i32) {
    let decimal = Decimal::shortest(x).rounded(digits);
    let power = decimal.exponent - (decimal.digits.len() as i32 - 1);
    let integer = decimal.digits.parse().unwrap_or(0);
    if x < 0.0 { (-integer, power) } else { (integer, power) }
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{}%", rounded(100.0 * share))
}

/// A level or setting with all digits; empty where it is null.
pub fn level(value: &Value) -> String {
    Levels::EXACT.text(value)
}

/// How the levels of one list are written: as short as values are, or longer where that would make two of them alike.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    digits: usize,
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} digits", self.digits)
    }
}

impl Levels {
    /// With all digits: for what has no list beside it.
    pub const EXACT: Self = Self { digits: ALL_DIGITS };

    /// For a list of levels of any type.
    pub fn of<'a>(levels: impl IntoIterator<Item = &'a Value>) -> Self {
        let levels: Vec<&Value> = levels.into_iter().collect();
        Self::fewest(|digits| levels.iter().map(|level| Self { digits }.text(level)).collect())
    }

    /// For a list of real numbers.
    ///
    /// ```
    /// use cliffline::numerics::shown::Levels;
    /// let levels = [0.1, 0.33333, 0.33334];
    /// assert_eq!(levels.map(|level| Levels::of_numbers(levels).number(level)), ["0.1", "0.33333", "0.33334"]);
    /// ```
    pub fn of_numbers(levels: impl IntoIterator<Item = f64>) -> Self {
        let levels: Vec<f64> = levels.into_iter().collect();
        Self::fewest(|digits| levels.iter().map(|level| rounded_to(*level, digits)).collect())
    }

    /// The fewest digits that make no two levels alike. More digits can make two numbers alike that fewer told apart,
    /// as
    /// 0.1499 and 0.1501, so all are looked at.
    fn fewest(texts: impl Fn(usize) -> BTreeSet<String>) -> Self {
        let distinct = texts(ALL_DIGITS).len();
        Self { digits: (DIGITS..ALL_DIGITS).find(|digits| texts(*digits).len() == distinct).unwrap_or(ALL_DIGITS) }
    }

    /// One of the levels.
    pub fn text(self, level: &Value) -> String {
        match level {
            Value::String(text) => text.clone(),
            Value::Number(n) => n.as_f64().filter(|_| n.is_f64()).map_or_else(|| n.to_string(), |x| self.number(x)),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// One of the levels, or a place between them.
    pub fn number(self, x: f64) -> String {
        rounded_to(x, self.digits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_worked_by_hand() {
        for (x, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (12.5, "12.5"),
            (-0.25, "-0.25"),
            (0.103239118471, "0.1032"),
            (0.00012345, "0.0001235"),
            (0.00001, "1e-5"),
            (1.2345e-10, "1.235e-10"),
            (1234.5678, "1235"),
            (123456.7, "123457"),
            (999999.7, "1e6"),
            (1234567.0, "1.235e6"),
            (9999.96, "10000"),
            (0.99996, "1"),
            // Ties of the decimal go away from zero, whatever the binary number is.
            (0.015625, "0.01563"),
            (12.345, "12.35"),
            (-12.345, "-12.35"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.798e308"),
            (f64::NAN, "no value"),
            (f64::NEG_INFINITY, "-infinite"),
        ] {
            assert_eq!(rounded(x), text, "{x:?}");
        }
        assert_eq!([exact(0.1 + 0.2), exact(1e23), exact(123456.75)], ["0.30000000000000004", "1e23", "123456.75"]);
        assert_eq!([percent(0.5), percent(0.004), percent(0.99996)], ["50%", "0.4%", "100%"]);
    }

    #[test]
    fn levels_keep_as_many_digits_as_tell_them_apart() {
        let all = |levels: &[f64]| {
            let shown = Levels::of_numbers(levels.iter().copied());
            levels.iter().map(|level| shown.number(*level)).collect::<Vec<_>>()
        };
        assert_eq!(all(&[1e-9, 1e-8, 1e-7]), ["1e-9", "1e-8", "1e-7"]);
        assert_eq!(all(&[0.005, 0.0106574687, 1.0]), ["0.005", "0.01066", "1"]);
        assert_eq!(all(&[0.149999, 0.150001]), ["0.149999", "0.150001"]);
        assert_eq!(all(&[0.0, 5e-324]), ["0", "5e-324"]);
        assert_eq!(all(&[1.0, 1.0 + f64::EPSILON]), ["1", "1.0000000000000002"]);
        assert_eq!(all(&[-f64::MAX, f64::MAX]), ["-1.798e308", "1.798e308"]);
        assert_eq!(all(&[]), Vec::<String>::new());
    }

    #[test]
    fn what_is_whole_by_its_type_is_never_rounded() {
        let seeds = [json!(9007199254740992u64), json!(9007199254740993u64), json!(i64::MAX)];
        let shown = Levels::of(&seeds);
        let texts: Vec<String> = seeds.iter().map(|seed| shown.text(seed)).collect();
        assert_eq!(texts, ["9007199254740992", "9007199254740993", "9223372036854775807"]);
        assert_eq!([json!(1.0), json!("swap"), json!(true), Value::Null].map(|v| level(&v)), ["1", "swap", "true", ""]);
        assert_eq!(level(&json!(0.123456789012)), "0.123456789012");
        let mixed = [json!(1), json!(1.00001), json!(2)];
        let shown = Levels::of(&mixed);
        assert_eq!(mixed.map(|level| shown.text(&level)), ["1", "1.00001", "2"]);
    }

    /// Any finite number, and neighbours of others: by bits, so that all magnitudes come.
    fn finite() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite())
    }

    fn close(levels: &[f64]) -> Vec<f64> {
        levels
            .iter()
            .flat_map(|x| [*x, x.next_up(), x.next_down(), x * (1.0 + 1e-7)])
            .filter(|x| x.is_finite())
            .collect()
    }

    proptest! {
        #[test]
        fn all_digits_read_back(x in finite()) {
            prop_assert_eq!(exact(x).parse::<f64>(), Ok(x));
        }

        #[test]
        fn integers_and_powers_are_what_is_written(x in finite(), digits in 1usize..17) {
            let (integer, power) = integer_and_power(x, digits);
            prop_assert_eq!(format!("{integer}e{power}").parse::<f64>(), rounded_to(x, digits).parse::<f64>());
            prop_assert!(integer == 0 || integer % 10 != 0);
        }

        #[test]
        fn rounded_numbers_are_near(x in finite(), digits in 1usize..17) {
            let back: f64 = rounded_to(x, digits).parse().expect("a number");
            // Half a unit of the last digit, and what reading it back adds; infinite above the greatest double.
            let near = back.is_infinite() || (back - x).abs() <= x.abs() * 5.01 * 10f64.powi(-(digits as i32)) + 5e-324;
            prop_assert!(near, "{} {}", x, back);
        }

        #[test]
        fn order_is_never_turned(a in finite(), b in finite(), digits in 1usize..17) {
            let read = |x: f64| rounded_to(x, digits).parse::<f64>().expect("a number");
            prop_assert_eq!(read(a.min(b)) <= read(a.max(b)), true);
        }

        #[test]
        fn what_differs_reads_differently(some in prop::collection::vec(finite(), 1..12), digits in 0usize..3) {
            // As they come; with their neighbours; between 0 and 1.
            let levels = match digits {
                0 => some,
                1 => close(&some),
                _ => close(&some.iter().map(|x| (x.to_bits() % 1000) as f64 / 1000.0).collect::<Vec<_>>()),
            };
            let shown = Levels::of_numbers(levels.iter().copied());
            let distinct: BTreeSet<u64> = levels.iter().map(|x| (x + 0.0).to_bits()).collect();
            let texts: BTreeSet<String> = levels.iter().map(|x| shown.number(*x)).collect();
            prop_assert_eq!(texts.len(), distinct.len());
        }
    }
}
