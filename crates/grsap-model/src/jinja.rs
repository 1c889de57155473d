//! The Jinja dialect of Hugging Face chat templates.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::template_limits::FUEL;

/// What a template gave to `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Raised(pub(crate) String);

/// An environment with one template in it. `now` is what `strftime_now` formats.
pub(crate) fn environment(
    name: &'static str,
    source: &str,
    now: Option<SystemTime>,
) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<(), Error> {
        let error = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
    environment.add_function("strftime_now", move |format: String| {
        strftime(&format, now.unwrap_or_else(SystemTime::now))
    });
    environment.add_filter("tojson", to_json);
    environment.add_template_owned(name, without_generation_tags(source))?;
    Ok(environment)
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: &Value, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<usize>>("indent")?,
    };
    // Other arguments (ensure_ascii, separators) only appear with their default values.
    let bytes = match indent {
        None => serialize(value, PythonFormatter),
        Some(indent) => {
            let indent = " ".repeat(indent.min(64));
            serialize(value, PrettyFormatter::with_indent(indent.as_bytes()))
        }
    };
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Error::new(ErrorKind::BadSerialization, "tojson failed"))
}

fn serialize(value: &Value, formatter: impl Formatter) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).ok()?;
    Some(bytes)
}

/// `, ` between elements and `: ` after keys.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Replaces `{% generation %}` blocks, which only mark text for transformers, by blocks that do
/// nothing. The signs that control white space stay.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let inside = tag.trim_matches(|c: char| c.is_whitespace() || "{%}-+".contains(c));
        match inside {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Python's `strftime`, in UTC, for the directives that write dates and times.
fn strftime(format: &str, time: SystemTime) -> Result<String, Error> {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    };
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let (year, month, day) = civil_date(days);
    let hour_12 = (hour + 11) % 12 + 1;
    let month_name = name_of(&MONTHS, month - 1);
    let day_name = name_of(&DAYS, (days + 4).rem_euclid(7));
    let short = |name: &'static str| name.get(..3).unwrap_or(name);

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        // `%-d` is `%d` without padding.
        let unpadded = directive == Some('-');
        if unpadded {
            directive = chars.next();
        }
        let number = |value: i64, width: usize| {
            if unpadded {
                value.to_string()
            } else {
                format!("{value:0width$}")
            }
        };
        out.push_str(&match directive {
            Some('Y') => number(year, 4),
            Some('y') => number(year.rem_euclid(100), 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('e') if unpadded => day.to_string(),
            Some('e') => format!("{day:2}"),
            Some('j') => number(days - first_day(year) + 1, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(hour_12, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => short(month_name).to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => short(day_name).to_owned(),
            Some('F') => format!("{year:04}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('D') => format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                let reason = format!("strftime_now does not know `%{other}`");
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
        });
    }
    Ok(out)
}

fn name_of(names: &[&'static str], index: i64) -> &'static str {
    let name = usize::try_from(index).ok().and_then(|i| names.get(i));
    name.copied().unwrap_or("")
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// # Source
///
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + 400 * era + i64::from(month <= 2);
    (year, month, day)
}

/// The first of January of a year, in days from 1970-01-01.
fn first_day(year: i64) -> i64 {
    let past = year - 1;
    365 * past + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn render(source: &str) -> Result<String, Error> {
        let context = minijinja::context! {
            items => vec![1, 2, 3],
            tool => Value::from_pairs([("name", Value::from("<é & 'x'>")), ("n", Value::from(vec![1, 2]))]),
            text => " a b ",
        };
        environment("t", source, None)?
            .get_template("t")?
            .render(context)
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let json = render("{{ tool | tojson }}").unwrap();
        assert_eq!(json, r#"{"name": "<é & 'x'>", "n": [1, 2]}"#);
        let json = render("{{ tool | tojson(indent=2) }}").unwrap();
        assert_eq!(
            json,
            "{\n  \"name\": \"<é & 'x'>\",\n  \"n\": [\n    1,\n    2\n  ]\n}"
        );
        assert_eq!(
            render("{{ text | tojson(indent=none) }}").unwrap(),
            r#"" a b ""#
        );
    }

    #[test]
    fn blocks_take_their_lines_with_them() {
        let text = render("a\n  {% for i in items %}\n{{ i }}\n  {% endfor %}\nb\n").unwrap();
        assert_eq!(text, "a\n1\n2\n3\nb");
    }

    #[test]
    fn python_methods_slices_and_loop_controls() {
        let source = "{{ text.strip() }}|{{ text.split(' ')[1] }}|{{ 'x'.startswith('x') }}|{{ items[::-1] }}|\
            {%- for i in items %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}";
        assert_eq!(render(source).unwrap(), "a b|a|True|[3, 2, 1]|13");
        assert_eq!(render("{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}").unwrap(), "6");
        assert_eq!(render("{{ '<b>' }}").unwrap(), "<b>");
    }

    #[test]
    fn generation_tags_only_mark() {
        let source = "a {%- generation -%} b {% endgeneration %}\nc{% if true %}d{% endif %}";
        assert_eq!(
            without_generation_tags(source),
            "a {%- if true -%} b {% endif %}\nc{% if true %}d{% endif %}"
        );
        assert_eq!(render(source).unwrap(), "ab cd");
        for odd in ["{%", "{% %}", "{%}", "{%generation%}x{%endgeneration%}"] {
            let _ = render(odd);
        }
    }

    #[test]
    fn dates() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let all = "%Y-%m-%d %H:%M:%S %y %e %-d %j %I %p %B %b %A %a %F %T %D %Z %z %%";
        assert_eq!(
            strftime(all, at(0)).unwrap(),
            "1970-01-01 00:00:00 70  1 1 001 12 AM January Jan Thursday Thu 1970-01-01 00:00:00 01/01/70 UTC +0000 %"
        );
        assert_eq!(
            strftime(all, at(1_735_689_599)).unwrap(),
            "2024-12-31 23:59:59 24 31 31 366 11 PM December Dec Tuesday Tue 2024-12-31 23:59:59 12/31/24 UTC +0000 %"
        );
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(strftime("%F %T", before).unwrap(), "1969-12-31 23:59:59");
        assert!(
            strftime("%Q", at(0))
                .unwrap_err()
                .to_string()
                .contains("%Q")
        );
        assert!(strftime("100%", at(0)).is_err());
    }
}
