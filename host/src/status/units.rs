//! How the status pages write times, sizes and dates for people.

use jiff::Timestamp;

/// A length of time with the two units that matter: "3 d 4 h", "12 s", "4.1 ms".
#[must_use]
pub fn duration(secs: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s")];
    if !secs.is_finite() || secs <= 0.0 {
        return "0 s".to_owned();
    }
    if secs < 0.000_999_5 {
        return format!("{} µs", significant(secs * 1e6));
    }
    if secs < 0.999_5 {
        return format!("{} ms", significant(secs * 1e3));
    }
    if secs < 10.0 && secs.fract() > 0.0 {
        return format!("{} s", significant(secs));
    }
    let mut left = secs.round();
    let mut words = Vec::new();
    for (size, unit) in UNITS {
        let count = (left / size).floor();
        left -= count * size;
        match (words.is_empty(), count > 0.0) {
            (true, false) => {}
            (true, true) => words.push(format!("{count} {unit}")),
            (false, counts) => {
                if counts {
                    words.push(format!("{count} {unit}"));
                }
                break;
            }
        }
    }
    words.join(" ")
}

/// As many digits as tell something.
fn significant(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// "1.2 MiB".
#[must_use]
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// 1234567 as "1 234 567", with spaces at which no line breaks.
#[must_use]
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// "2026-11-21 10:00:00 UTC".
#[must_use]
pub fn date(epoch_secs: u64) -> String {
    timestamp(epoch_secs).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// As Apache's mod_status writes it, in UTC.
#[must_use]
pub fn date_as_apache(epoch_secs: u64) -> String {
    timestamp(epoch_secs).strftime("%A, %d-%b-%Y %H:%M:%S UTC").to_string()
}

fn timestamp(epoch_secs: u64) -> Timestamp {
    let known = i64::try_from(epoch_secs).ok().and_then(|secs| Timestamp::from_second(secs).ok());
    known.unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most() {
        for (secs, text) in [
            (0.0, "0 s"),
            (-1.0, "0 s"),
            (f64::NAN, "0 s"),
            (0.000_000_4, "0.4 µs"),
            (0.000_412, "412 µs"),
            (0.000_999_6, "1.0 ms"),
            (0.004_14, "4.1 ms"),
            (0.25, "250 ms"),
            (0.9999, "1.0 s"),
            (1.5, "1.5 s"),
            (12.4, "12 s"),
            (59.6, "1 min"),
            (61.0, "1 min 1 s"),
            (3_600.0, "1 h"),
            (3_601.0, "1 h"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(duration(secs), text, "{secs}");
        }
    }

    #[test]
    fn sizes_numbers_and_dates_read_as_people_write_them() {
        assert_eq!((bytes(0), bytes(1536)), ("0 B".into(), "1.5 KiB".into()));
        assert_eq!((number(7), number(1_234_567)), ("7".into(), "1\u{202f}234\u{202f}567".into()));
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(u64::MAX), "9999-12-30 22:00:00 UTC");
        assert_eq!(date_as_apache(0), "Thursday, 01-Jan-1970 00:00:00 UTC");
    }
}
