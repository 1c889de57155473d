use grsap_core::{Completion, FinishReason};

use super::answer::{Answer, Choice};
use super::error::OpenAiError;
use crate::tokenizer::ChatTokenizer;

/// Puts the choices of one request together, and ends each where a stop text appears.
///
/// Stop texts are looked for here and not sent, because the protocol has one word for the end of a
/// turn and for a stop text.
pub(super) struct Collector<'a> {
    stop: &'a [String],
    parts: Vec<Part>,
    num_tokens: Option<usize>,
}

/// A choice on its way.
#[derive(Clone, Default)]
struct Part {
    text: String,
    end: Option<End>,
    is_seen: bool,
}

#[derive(Clone, Copy)]
enum End {
    /// As the server says.
    Finished(FinishReason),
    /// A stop text stands at these bytes.
    Stopped { start: usize, end: usize },
}

impl<'a> Collector<'a> {
    /// For `num_choices` choices.
    pub(super) fn new(num_choices: usize, stop: &'a [String]) -> Self {
        Self {
            stop,
            parts: vec![Part::default(); num_choices],
            num_tokens: None,
        }
    }

    /// Adds an answer, or an event of one.
    pub(super) fn push(&mut self, mut answer: Answer) -> Result<(), OpenAiError> {
        let usage = answer.usage.take();
        self.num_tokens = usage.and_then(|u| u.completion_tokens).or(self.num_tokens);
        for (position, choice) in answer.choices()?.into_iter().enumerate() {
            // A server that numbers nothing sends the choices in order.
            let index = choice.index.unwrap_or(position);
            let expected = self.parts.len();
            let got = index.saturating_add(1);
            let part = self.parts.get_mut(index);
            part.ok_or(OpenAiError::Choices { expected, got })?
                .push(choice, self.stop)?;
        }
        Ok(())
    }

    /// Whether more of the answer can add anything.
    pub(super) fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.end.is_some())
    }

    /// Whether some choice was ended here and not by the server.
    pub(super) fn is_stopped(&self) -> bool {
        let is_stopped = |part: &Part| matches!(part.end, Some(End::Stopped { .. }));
        self.parts.iter().any(is_stopped)
    }

    /// The completions, after the answer's end. `is_whole` says whether the server marked the end.
    pub(super) fn finish(
        self,
        is_whole: bool,
        tokenizer: &ChatTokenizer,
    ) -> Result<Vec<Completion>, OpenAiError> {
        let expected = self.parts.len();
        let got = self.parts.iter().filter(|part| part.is_seen).count();
        if got < expected && is_whole {
            return Err(OpenAiError::Choices { expected, got });
        }
        // The server counts all choices together.
        let num_tokens = self.num_tokens.filter(|_| expected == 1);
        let complete = |part: Part| part.complete(num_tokens, tokenizer);
        self.parts.into_iter().map(complete).collect()
    }
}

impl Part {
    fn push(&mut self, choice: Choice, stop: &[String]) -> Result<(), OpenAiError> {
        self.is_seen = true;
        if self.end.is_some() {
            return Ok(());
        }
        let before = self.text.len();
        self.text
            .push_str(choice.text.as_deref().unwrap_or_default());
        self.end = match first_stop(&self.text, before, stop) {
            Some((start, end)) => Some(End::Stopped { start, end }),
            None => match choice.finish_reason.as_deref() {
                None => None,
                // TGI's words stand beside OpenAI's.
                Some("stop" | "eos_token") => Some(End::Finished(FinishReason::Eos)),
                Some("length") => Some(End::Finished(FinishReason::Length)),
                Some(other) => {
                    let reason = other.to_owned();
                    return Err(OpenAiError::FinishReason { reason });
                }
            },
        };
        Ok(())
    }

    fn complete(
        mut self,
        num_tokens: Option<usize>,
        tokenizer: &ChatTokenizer,
    ) -> Result<Completion, OpenAiError> {
        let count = |text: &str| tokenizer.encode(text).map(|ids| ids.len());
        let (finish_reason, num_tokens) = match self.end.ok_or(OpenAiError::Cut)? {
            End::Stopped { start, end } => {
                self.text.truncate(end);
                let num_tokens = count(&self.text);
                self.text.truncate(start);
                (FinishReason::Stop, num_tokens)
            }
            End::Finished(reason) => {
                let ending = usize::from(reason == FinishReason::Eos);
                let num_tokens = match num_tokens {
                    Some(num_tokens) => Ok(num_tokens),
                    None => count(&self.text).map(|n| n + ending),
                };
                (reason, num_tokens)
            }
        };
        Ok(Completion {
            text: self.text,
            num_tokens: num_tokens.map_err(OpenAiError::answer)?,
            finish_reason,
        })
    }
}

/// The bytes of the first stop text in `text`, if one ends behind byte `before`.
fn first_stop(text: &str, before: usize, stop: &[String]) -> Option<(usize, usize)> {
    stop.iter()
        .filter_map(|stop| {
            let from = (before + 1).saturating_sub(stop.len());
            let from = text.floor_char_boundary(from);
            let start = from + text.get(from..)?.find(stop.as_str())?;
            Some((start, start + stop.len()))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgufFile;
    use crate::gguf::builder::{GgufBuilder, tiny_tokenizer};

    fn tokenizer() -> ChatTokenizer {
        let bytes = tiny_tokenizer(GgufBuilder::new()).build();
        ChatTokenizer::from_gguf(&GgufFile::from_bytes(bytes).unwrap()).unwrap()
    }

    fn collect(n: usize, stop: &[&str], events: &[&str]) -> Result<Vec<Completion>, OpenAiError> {
        let stop: Vec<String> = stop.iter().map(|text| (*text).to_owned()).collect();
        let mut collector = Collector::new(n, &stop);
        for event in events {
            assert!(!collector.is_done());
            collector.push(Answer::parse(event.as_bytes())?)?;
        }
        collector.finish(true, &tokenizer())
    }

    fn event(index: usize, text: &str, finish: &str) -> String {
        let finish = serde_json::from_str::<serde_json::Value>(finish).unwrap();
        serde_json::json!({"choices": [{"index": index, "text": text, "finish_reason": finish}]})
            .to_string()
    }

    #[test]
    fn choices_come_in_any_order_and_in_pieces() {
        let events = [
            event(1, "b", "null"),
            event(0, "x", "null"),
            event(1, "c", r#""length""#),
            event(0, "", r#""stop""#),
        ];
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let done = collect(2, &[], &events).unwrap();
        let ends = [FinishReason::Eos, FinishReason::Length];
        assert_eq!([&done[0].text, &done[1].text], ["x", "bc"]);
        assert_eq!([done[0].finish_reason, done[1].finish_reason], ends);
        // "x" and the token that ended it; "b" and "c".
        assert_eq!([done[0].num_tokens, done[1].num_tokens], [2, 2]);
    }

    #[test]
    fn stop_texts_are_found_across_pieces_and_the_first_one_counts() {
        let pieces = ["é", "a", "b c", " d"].map(|text| event(0, text, "null"));
        let until = |stop: &[&str], n: usize| {
            let events: Vec<&str> = pieces[..n].iter().map(String::as_str).collect();
            let done = collect(1, stop, &events).unwrap().remove(0);
            assert_eq!(done.finish_reason, FinishReason::Stop);
            (done.text, done.num_tokens)
        };
        assert_eq!(until(&["ab"], 3), ("é".into(), 4));
        assert_eq!(until(&["c d", " "], 3), ("éab".into(), 5));
        assert_eq!(until(&["é"], 1), (String::new(), 2));
        assert_eq!(until(&["éab c d"], 4).0, "");
    }

    #[test]
    fn the_server_counts_the_tokens_of_a_single_choice() {
        let last = r#"{"choices": [{"index": 0, "text": "ab", "finish_reason": "stop"}],
                       "usage": {"completion_tokens": 9}}"#;
        assert_eq!(collect(1, &[], &[last]).unwrap()[0].num_tokens, 9);
    }

    #[test]
    fn other_numbers_of_choices_are_errors() {
        let two = r#"{"choices": [{"text": "a", "finish_reason": "stop"},
                                  {"text": "b", "finish_reason": "stop"}]}"#;
        assert_eq!(collect(2, &[], &[two]).unwrap()[1].text, "b");
        for (n, got) in [(1, 2), (3, 2)] {
            let error = collect(n, &[], &[two]).unwrap_err();
            let is_right = matches!(
                error, OpenAiError::Choices { expected, got: g } if expected == n && g == got
            );
            assert!(is_right, "{error}");
        }
        let far = event(usize::MAX, "a", "null");
        assert!(matches!(
            collect(1, &[], &[&far]),
            Err(OpenAiError::Choices { .. })
        ));
    }

    #[test]
    fn an_end_that_is_missing_or_strange_is_an_error() {
        let open = event(0, "a", "null");
        assert!(matches!(collect(1, &[], &[&open]), Err(OpenAiError::Cut)));
        let filtered = event(0, "a", r#""content_filter""#);
        let error = collect(1, &[], &[&filtered]).unwrap_err().to_string();
        assert_eq!(error, "a choice ended for the reason `content_filter`");
    }
}
