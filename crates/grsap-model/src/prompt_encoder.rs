use std::path::Path;

use grsap_core::{ModelError, Prompt};

use crate::chat_model::ChatModel;
use crate::chat_template::ChatTemplate;
use crate::gguf::GgufFile;
use crate::load_error::LoadError;
use crate::tokenizer::{ChatEncodingError, ChatTokenizer, ControlTokens};

/// A chat model's tokenizer and template without its weights: from prompts to tokens.
///
/// It is what a model behind a server needs on this side, so that every prompt, open turns too, is
/// the one that the model was trained on.
///
/// # Examples
///
/// ```no_run
/// use grsap_core::{Message, Prompt};
/// use grsap_model::PromptEncoder;
///
/// let prompts = PromptEncoder::load("path/to/model")?;
/// let open = Prompt::prefilled([Message::user("Name a river."), Message::assistant("The ")]);
/// println!("{}", prompts.render(&open)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PromptEncoder {
    tokenizer: ChatTokenizer,
    template: Option<ChatTemplate>,
    control_tokens: ControlTokens,
}

impl PromptEncoder {
    /// Reads the tokenizer and the template of a GGUF file, or of a directory in Hugging Face's
    /// layout, where no weights are needed.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file and the field that is missing or wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        if path.is_dir() {
            let tokenizer = ChatTokenizer::from_dir(path)?;
            return Ok(Self::new(tokenizer, ChatTemplate::from_dir(path)?));
        }
        let file = GgufFile::open(path)?;
        let tokenizer = ChatTokenizer::from_gguf(&file)?;
        Ok(Self::new(tokenizer, ChatTemplate::from_gguf(&file)?))
    }

    /// From parts. Without a template it encodes plain texts only.
    pub fn new(tokenizer: ChatTokenizer, template: Option<ChatTemplate>) -> Self {
        Self {
            tokenizer,
            template,
            control_tokens: ControlTokens::default(),
        }
    }

    /// The same with another way to read special tokens that messages spell out.
    #[must_use]
    pub fn with_control_tokens(mut self, control_tokens: ControlTokens) -> Self {
        self.control_tokens = control_tokens;
        self
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ChatTokenizer {
        &self.tokenizer
    }

    /// The chat template, if the model has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// How special tokens that messages spell out are read.
    pub fn control_tokens(&self) -> ControlTokens {
        self.control_tokens
    }

    /// The tokens of a prompt: those of [`ChatModel::encode`].
    ///
    /// # Errors
    ///
    /// When the template refuses the messages, or the model has none.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        self.encode_at(0, prompt)
    }

    /// The same for prompt `index` of a batch, which errors name.
    pub(crate) fn encode_at(&self, index: usize, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        let template = self.template.as_ref();
        encode_prompt(
            index,
            prompt,
            &self.tokenizer,
            template,
            self.control_tokens,
        )
    }

    /// The text of a prompt, with the special tokens that the template writes.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn render(&self, prompt: &Prompt) -> Result<String, ModelError> {
        self.render_at(0, prompt)
    }

    pub(crate) fn render_at(&self, index: usize, prompt: &Prompt) -> Result<String, ModelError> {
        match prompt {
            Prompt::Text(text) => Ok(text.clone()),
            Prompt::Chat { messages, turn } => {
                let rendered = template_of(index, self.template.as_ref())?.render(messages, *turn);
                rendered.map_err(|e| template_failed(index, e))
            }
        }
    }
}

impl From<&ChatModel> for PromptEncoder {
    fn from(model: &ChatModel) -> Self {
        Self::new(model.tokenizer().clone(), model.template().cloned())
            .with_control_tokens(model.control_tokens())
    }
}

/// The tokens of a prompt: a chat through the template, plain text with a BOS token only where the
/// tokenizer asks for one.
pub(crate) fn encode_prompt(
    index: usize,
    prompt: &Prompt,
    tokenizer: &ChatTokenizer,
    template: Option<&ChatTemplate>,
    control_tokens: ControlTokens,
) -> Result<Vec<u32>, ModelError> {
    let failed = |e| ModelError::backend(format!("input {index}: the tokenizer failed"), e);
    match prompt {
        Prompt::Text(text) => tokenizer.encode_text(text).map_err(failed),
        Prompt::Chat { messages, turn } => tokenizer
            .encode_chat(
                template_of(index, template)?,
                messages,
                *turn,
                control_tokens,
            )
            .map_err(|e| match e {
                ChatEncodingError::Tokenizer(e) => failed(e),
                other => template_failed(index, other),
            }),
    }
}

fn template_of(index: usize, template: Option<&ChatTemplate>) -> Result<&ChatTemplate, ModelError> {
    template.ok_or_else(|| ModelError::Template {
        index,
        reason: "the model has no chat template".into(),
    })
}

fn template_failed(index: usize, error: impl ToString) -> ModelError {
    ModelError::Template {
        index,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use grsap_core::Message;

    use super::*;
    use crate::gguf::builder::{tiny_llama, tiny_tokenizer};

    #[test]
    fn a_gguf_file_without_tensors_is_enough() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
        let builder = tiny_tokenizer(tiny_llama()).text("tokenizer.chat_template", template);
        std::fs::write(file.path(), builder.build()).unwrap();
        let prompts = PromptEncoder::load(file.path()).unwrap();
        let open = Prompt::prefilled([Message::user("hi"), Message::assistant("yo")]);
        assert_eq!(prompts.render(&open).unwrap(), "<user>hi<assistant>yo");
        let tokens = prompts.tokenizer().encode("<user>hi<assistant>yo").unwrap();
        assert_eq!(prompts.encode(&open).unwrap(), tokens);
        assert!(prompts.template().is_some());
    }

    #[test]
    fn without_a_template_only_plain_text_is_a_prompt() {
        let bytes = tiny_tokenizer(tiny_llama()).build();
        let tokenizer = ChatTokenizer::from_gguf(&GgufFile::from_bytes(bytes).unwrap()).unwrap();
        let prompts = PromptEncoder::new(tokenizer, None);
        assert_eq!(prompts.render(&Prompt::Text("a".into())).unwrap(), "a");
        let chat = Prompt::chat([Message::user("a")]);
        for error in [
            prompts.render_at(3, &chat).unwrap_err(),
            prompts.encode_at(3, &chat).unwrap_err(),
        ] {
            let expected = "prompt 3: the chat template failed: the model has no chat template";
            assert_eq!(error.to_string(), expected);
        }
    }
}
