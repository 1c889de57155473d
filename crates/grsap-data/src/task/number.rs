/// The numbers written in `text`, in order, each in one normal form: no thousands separators, no
/// zeros that say nothing, no sign on zero. "$1,000.00" is "1000".
///
/// A minus sign belongs to a number unless something is subtracted: "-5" is negative, "8-5" is not.
pub(super) fn numbers(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or(' ');
    let is_digit = |index: usize| at(index).is_ascii_digit();
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        // Not the last point of "...18".
        let is_after_point = i.checked_sub(1).is_some_and(|before| at(before) == '.');
        let starts_with_point = at(i) == '.' && is_digit(i + 1) && !is_after_point;
        if !is_digit(i) && !starts_with_point {
            i += 1;
            continue;
        }
        let negative = is_negative(&chars, i);
        let mut whole = String::new();
        while is_digit(i) {
            whole.push(at(i));
            i += 1;
            // A comma is a separator only before exactly three digits: "1,000", not "3,14" or
            // "1,2345".
            let groups = at(i) == ',' && (1..=3).all(|k| is_digit(i + k)) && !is_digit(i + 4);
            if groups {
                i += 1;
            }
        }
        let mut fraction = String::new();
        if at(i) == '.' && is_digit(i + 1) {
            i += 1;
            while is_digit(i) {
                fraction.push(at(i));
                i += 1;
            }
        }
        found.push(normal_form(negative, &whole, &fraction));
    }
    found
}

fn is_negative(chars: &[char], start: usize) -> bool {
    let mut before = chars.iter().take(start).rev().peekable();
    // The currency stands on either side of the sign: "-$5", "$-5".
    before.next_if(|c| matches!(c, '$' | '€' | '£'));
    let Some('-' | '−' | '–') = before.next() else {
        return false;
    };
    before.next_if(|c| matches!(c, '$' | '€' | '£'));
    !before
        .next()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, ')' | ']' | '%' | '.'))
}

fn normal_form(negative: bool, whole: &str, fraction: &str) -> String {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if negative && (whole != "0" || !fraction.is_empty()) {
        "-"
    } else {
        ""
    };
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn every_spelling_has_one_form() {
        let cases: &[(&str, &[&str])] = &[
            ("18", &["18"]),
            ("18.00", &["18"]),
            ("18.", &["18"]),
            ("007.50", &["7.5"]),
            ("1,000", &["1000"]),
            ("$1,234,567.80.", &["1234567.8"]),
            ("1,2345", &["1", "2345"]),
            ("1, 2 and 3", &["1", "2", "3"]),
            ("3,14", &["3", "14"]),
            ("-5", &["-5"]),
            ("−5", &["-5"]),
            ("x = -$5", &["-5"]),
            ("$-5", &["-5"]),
            ("16-3", &["16", "3"]),
            ("$16-$3", &["16", "3"]),
            ("(16)-3", &["16", "3"]),
            ("16 - 3", &["16", "3"]),
            ("-0", &["0"]),
            ("-0.0", &["0"]),
            ("-0.5", &["-0.5"]),
            (".5", &["0.5"]),
            ("50%", &["50"]),
            ("1/2", &["1", "2"]),
            ("0", &["0"]),
            ("", &[]),
            ("none. at, all-", &[]),
            ("١٢", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(numbers(text), *expected, "{text}");
        }
    }

    #[test]
    fn long_digit_strings_are_exact() {
        let text = "9".repeat(400);
        assert_eq!(numbers(&text), std::slice::from_ref(&text));
    }
}
