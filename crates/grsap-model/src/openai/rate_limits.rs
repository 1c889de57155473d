use std::time::{Duration, SystemTime};

use ureq::http::HeaderMap;

/// How long the headers of a refusal ask to wait.
///
/// # Source
///
/// RFC 9110, section 10.2.3 (`Retry-After`: seconds or a date); `retry-after-ms` and the
/// `x-ratelimit-*` headers as OpenAI's reference has them.
pub(super) fn asked_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| header(headers, name);
    let milliseconds = text("retry-after-ms")
        .and_then(number)
        .map(|ms| ms / 1000.0)
        .and_then(seconds);
    let retry_after = || {
        let text = text("retry-after")?;
        let date = || {
            let at = http_date(text)?;
            Some(at.duration_since(now).unwrap_or_default())
        };
        number(text).and_then(seconds).or_else(date)
    };
    milliseconds
        .or_else(retry_after)
        .or_else(|| exhausted_until(headers))
}

/// How long until a quota that these headers call used up is there again.
pub(super) fn exhausted_until(headers: &HeaderMap) -> Option<Duration> {
    ["requests", "tokens"]
        .into_iter()
        .filter_map(|kind| {
            let remaining = header(headers, &format!("x-ratelimit-remaining-{kind}"))?;
            if number(remaining)? > 0.0 {
                return None;
            }
            span(header(headers, &format!("x-ratelimit-reset-{kind}"))?)
        })
        .max()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// `1s`, `6m0s`, `20ms`, `1h2m3.5s`, or plain seconds.
fn span(text: &str) -> Option<Duration> {
    if let Some(plain) = number(text) {
        return seconds(plain);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number(value)? * unit;
        rest = after;
    }
    seconds(total)
}

/// A date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut parts = text.split_once(", ")?.1.split([' ', ':']);
    let mut next = || parts.next();
    let day: u64 = next()?.parse().ok()?;
    let month = next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = next()?.parse().ok()?;
    let mut clock = [0_u64; 3];
    for value in &mut clock {
        *value = next()?.parse().ok()?;
    }
    let [hour, minute, second] = clock;
    let in_range = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range || next()? != "GMT" {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn wait(pairs: &[(&str, &str)]) -> Option<u128> {
        // 06 Nov 1994 08:49:07.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_747);
        asked_wait(&headers(pairs), now).map(|wait| wait.as_millis())
    }

    #[test]
    fn waits_are_read_in_every_form() {
        assert_eq!(wait(&[("retry-after", "7")]), Some(7000));
        assert_eq!(wait(&[("retry-after", " 1.5 ")]), Some(1500));
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[date]), Some(30_000));
        let past = ("retry-after", "Sat, 05 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[past]), Some(0));
        assert_eq!(
            wait(&[("retry-after", "9"), ("retry-after-ms", "20")]),
            Some(20)
        );
        for bad in [
            "",
            "soon",
            "-1",
            "inf",
            "NaN",
            "1e300",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(wait(&[("retry-after", bad)]), None, "{bad}");
        }
    }

    #[test]
    fn a_quota_counts_only_where_it_is_used_up() {
        let reset = ("x-ratelimit-reset-tokens", "6m0s");
        assert_eq!(wait(&[reset]), None);
        assert_eq!(wait(&[reset, ("x-ratelimit-remaining-tokens", "12")]), None);
        let used_up = ("x-ratelimit-remaining-tokens", "0");
        assert_eq!(wait(&[reset, used_up]), Some(360_000));
        let requests = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "20ms"),
        ];
        assert_eq!(wait(&requests), Some(20));
        assert_eq!(
            wait(&[requests[0], requests[1], reset, used_up]),
            Some(360_000)
        );
        for (text, ms) in [("1h2m3.5s", 3_723_500), ("0.25", 250), ("1d", 86_400_000)] {
            assert_eq!(span(text).map(|span| span.as_millis()), Some(ms), "{text}");
        }
        for bad in ["", "s", "5x", "5 s", "1s2"] {
            assert!(span(bad).is_none_or(|span| span.is_zero()), "{bad}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |text| {
            let at: SystemTime = http_date(text)?;
            Some(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        assert_eq!(date("Fri, 31 Dec 2100 23:59:59 GMT"), Some(4_133_980_799));
        for bad in ["Thu", "Thu, 01 Jan 1970", "Thu, 01 Foo 1970 00:00:00 GMT"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }
}
