use std::ops::Range;

use grsap_core::{Message, Role};

use crate::chat_template::{ChatTemplate, TemplateError};
use crate::tokenizer::{ChatTokenizer, TokenizerError};

/// A chat as tokens, with those marked that the assistant writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingTokens {
    /// The whole chat, exactly as [`ChatTokenizer::encode`] gives it.
    pub input_ids: Vec<u32>,
    /// Whether each token is one that the assistant writes: its content and the token that ends
    /// its turn. Not shifted: `is_target[i]` speaks about `input_ids[i]`.
    pub is_target: Vec<bool>,
}

/// A chat could not be turned into a training example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingTokensError {
    /// The template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// What the template writes before an assistant turn is not the start of the whole chat, so it
    /// cannot be told which part of the chat the assistant writes.
    #[error(
        "the chat template renders what comes before message {index} differently in the whole chat"
    )]
    NotPrefixStable {
        /// Position of the assistant's message.
        index: usize,
    },
}

impl TrainingTokens {
    /// Renders and encodes a chat and marks every assistant turn.
    ///
    /// A turn begins where the prompt for it would end (with its generation prompt), so what the
    /// model is trained to write is what it is later asked to write.
    ///
    /// # Errors
    ///
    /// [`TrainingTokensError::NotPrefixStable`] for a template that cannot be marked, or what the
    /// template and the tokenizer say.
    pub fn from_messages(
        messages: &[Message],
        template: &ChatTemplate,
        tokenizer: &ChatTokenizer,
    ) -> Result<Self, TrainingTokensError> {
        let text = template.render_closed(messages)?;
        let tokens = tokenizer.encode_with_offsets(&text)?;
        let mut is_target = vec![false; tokens.len()];
        for (index, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let turn = assistant_turn(messages, index, &text, template)?;
            let end = end_of_turn(&tokens, &text, turn.end, tokenizer);
            for ((_, range), target) in tokens.iter().zip(&mut is_target) {
                *target |= range.start >= turn.start && range.end <= end;
            }
        }
        Ok(Self {
            input_ids: tokens.into_iter().map(|(id, _)| id).collect(),
            is_target,
        })
    }

    /// How many tokens the assistant writes.
    pub fn num_targets(&self) -> usize {
        self.is_target.iter().filter(|target| **target).count()
    }
}

/// The bytes of `text` from the first that the assistant writes in message `index` to the end of
/// the message's content.
fn assistant_turn(
    messages: &[Message],
    index: usize,
    text: &str,
    template: &ChatTemplate,
) -> Result<Range<usize>, TrainingTokensError> {
    let unstable = || TrainingTokensError::NotPrefixStable { index };
    let before = messages.get(..index).unwrap_or_default();
    let prompt = match template.render_raw(before, true) {
        // Some templates cannot render an empty chat.
        Err(_) if before.is_empty() => return Err(unstable()),
        prompt => prompt?,
    };
    let marked = template
        .render_marked(messages, index)?
        .ok_or_else(unstable)?;
    // Both are equal up to the marker, but for trailing spaces that the template trims.
    let end = text
        .char_indices()
        .zip(marked.text.char_indices())
        .find(|((_, a), (position, b))| a != b || *position == marked.end)
        .map_or(text.len(), |((position, _), _)| position);
    let trimmed = marked.text.get(end..marked.end).map(str::trim);
    if !text.starts_with(&prompt) || end < prompt.len() || trimmed != Some("") {
        return Err(unstable());
    }
    Ok(prompt.len()..end)
}

/// Where the turn ends whose content ends at `content_end`: after its end-of-turn token, which
/// follows at once or after white space. Without one, where its content ends.
fn end_of_turn(
    tokens: &[(u32, Range<usize>)],
    text: &str,
    content_end: usize,
    tokenizer: &ChatTokenizer,
) -> usize {
    tokens
        .iter()
        .find(|(id, range)| range.end > content_end && tokenizer.is_eos(*id))
        .filter(|(_, range)| {
            // Some end-of-turn tokens take the white space before them in.
            let between = text.get(content_end..range.start.max(content_end));
            between.is_some_and(|between| between.trim().is_empty())
        })
        .map_or(content_end, |(_, range)| range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgufFile;
    use crate::gguf::builder::{GgufBuilder, tiny_tokenizer};

    const CHATML: &str = "{% for m in messages %}\
        {{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn tokenizer() -> ChatTokenizer {
        let bytes = tiny_tokenizer(GgufBuilder::new()).build();
        ChatTokenizer::from_gguf(&GgufFile::from_bytes(bytes).unwrap()).unwrap()
    }

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source, None, Some("<|im_end|>")).unwrap()
    }

    /// The chat with `[` and `]` around what the assistant writes.
    fn marked(source: &str, messages: &[Message]) -> Result<String, TrainingTokensError> {
        let (tokenizer, template) = (tokenizer(), template(source));
        let tokens = TrainingTokens::from_messages(messages, &template, &tokenizer)?;
        let whole = tokenizer.encode(&template.render_closed(messages)?)?;
        assert_eq!(tokens.input_ids, whole);
        assert_eq!(tokens.is_target.len(), whole.len());
        let mut text = String::new();
        for run in tokens
            .input_ids
            .iter()
            .zip(&tokens.is_target)
            .collect::<Vec<_>>()
            .chunk_by(|a, b| a.1 == b.1)
        {
            let ids: Vec<u32> = run.iter().map(|(id, _)| **id).collect();
            let part = tokenizer.decode(&ids, false)?;
            match run.first() {
                Some((_, true)) => text.push_str(&format!("[{part}]")),
                _ => text.push_str(&part),
            }
        }
        Ok(text)
    }

    fn chat() -> Vec<Message> {
        vec![
            Message::system("Be brief."),
            Message::user("hello"),
            Message::assistant("hello hello\n"),
            Message::user("größe?"),
            Message::assistant("12 🙂"),
        ]
    }

    #[test]
    fn every_assistant_turn_with_its_end() {
        assert_eq!(
            marked(CHATML, &chat()).unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n\
             <|im_start|>assistant\n[hello hello\n<|im_end|>]\n<|im_start|>user\ngröße?<|im_end|>\n\
             <|im_start|>assistant\n[12 🙂<|im_end|>]\n"
        );
        let no_answer = &chat()[..2];
        let tokens = TrainingTokens::from_messages(no_answer, &template(CHATML), &tokenizer());
        assert_eq!(tokens.unwrap().num_targets(), 0);
    }

    #[test]
    fn answers_that_spell_out_special_tokens_or_are_empty() {
        let messages = [Message::user("x"), Message::assistant("a<|im_end|>\nb")];
        assert_eq!(
            marked(CHATML, &messages).unwrap(),
            "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>\nb<|im_end|>]\n"
        );
        let messages = [Message::user("x"), Message::assistant("")];
        assert_eq!(
            marked(CHATML, &messages).unwrap(),
            "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n[<|im_end|>]\n"
        );
        // The answer repeats what stands before it.
        let messages = [Message::user("yes"), Message::assistant("yes")];
        assert!(
            marked(CHATML, &messages)
                .unwrap()
                .ends_with("\n[yes<|im_end|>]\n")
        );
    }

    #[test]
    fn templates_that_trim_or_always_open_a_turn() {
        let source = "{% for m in messages %}{{ m.role + ':' + m.content | trim + '<|im_end|>' }}{% endfor %}assistant:";
        let text = marked(source, &chat()).unwrap();
        assert_eq!(
            text,
            "system:Be brief.<|im_end|>user:hello<|im_end|>assistant:[hello hello<|im_end|>]\
             user:größe?<|im_end|>assistant:[12 🙂<|im_end|>]assistant:"
        );
    }

    #[test]
    fn templates_without_an_end_of_turn() {
        let source = "{% for m in messages %}{{ m.role + ':' + m.content + '\n' }}{% endfor %}\
            {% if add_generation_prompt %}assistant:{% endif %}";
        let messages = [
            Message::user("a"),
            Message::assistant("b"),
            Message::user("c"),
        ];
        assert_eq!(
            marked(source, &messages).unwrap(),
            "user:a\nassistant:[b]\nuser:c\n"
        );
    }

    #[test]
    fn thoughts_that_only_the_last_turn_shows_are_written_by_the_assistant() {
        let source = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}\
            {% if loop.last and m.role == 'assistant' %}{{ '<think></think>' }}{% endif %}\
            {{ m.content + '<|im_end|>' }}{% endfor %}\
            {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let text = marked(source, &chat()[1..]).unwrap();
        assert!(
            text.contains("assistant\n[hello hello\n<|im_end|>]"),
            "{text}"
        );
        assert!(
            text.ends_with("assistant\n[<think></think>12 🙂<|im_end|>]"),
            "{text}"
        );
    }

    #[test]
    fn a_template_that_is_not_prefix_stable_is_an_error() {
        let unstable = |source: &str, messages: &[Message], index: usize| {
            let error = marked(source, messages).unwrap_err();
            assert!(
                matches!(error, TrainingTokensError::NotPrefixStable { index: i } if i == index),
                "{error}"
            );
        };
        let counting = format!("{{{{ messages | length }}}}{CHATML}");
        unstable(&counting, &chat(), 2);
        let shouting = CHATML.replace("m.content", "m.content | upper");
        unstable(&shouting, &chat(), 2);
        let without_answers = CHATML.replace(
            "{{ '<|im_start|>' + m.role",
            "{% if m.role == 'assistant' %}{% continue %}{% endif %}{{ '<|im_start|>' + m.role",
        );
        unstable(&without_answers, &chat(), 2);
        // Some templates start with a system message of their own, unless there is no message.
        let needs_first = format!("{{{{ messages[0]['role'][0] }}}}{CHATML}");
        unstable(&needs_first, &[Message::assistant("a")], 0);
    }

    #[test]
    fn failures_of_the_template_are_passed_on() {
        let error = marked("{{ raise_exception('no') }}", &chat()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the chat template refused the messages: no"
        );
        assert!(matches!(
            marked(CHATML, &[]),
            Err(TrainingTokensError::Template(TemplateError::NoMessages))
        ));
    }
}
