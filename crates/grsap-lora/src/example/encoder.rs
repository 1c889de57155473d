use grsap_data::{Mixture, Origin, Record};
use grsap_model::{ChatModel, ChatTemplate, ChatTokenizer, TrainingTokens};

use super::error::SftError;
use super::example_name::ExampleName;
use super::sft_config::{LossScope, SftConfig};
use super::sft_example::{REPLAY, SftExample};

/// Turns records into training examples with a model's template and tokenizer.
#[derive(Debug, Clone)]
pub struct SftEncoder<'a> {
    template: &'a ChatTemplate,
    tokenizer: &'a ChatTokenizer,
    config: SftConfig,
}

impl<'a> SftEncoder<'a> {
    /// An encoder.
    ///
    /// # Errors
    ///
    /// [`SftError::MaxLength`].
    pub fn new(
        template: &'a ChatTemplate,
        tokenizer: &'a ChatTokenizer,
        config: SftConfig,
    ) -> Result<Self, SftError> {
        let max_length = config.max_length;
        if max_length < 2 {
            return Err(SftError::MaxLength { max_length });
        }
        Ok(Self {
            template,
            tokenizer,
            config,
        })
    }

    /// An encoder with the template and the tokenizer of `model`.
    ///
    /// # Errors
    ///
    /// [`SftError::NoTemplate`], [`SftError::MaxLength`].
    pub fn for_model(model: &'a ChatModel, config: SftConfig) -> Result<Self, SftError> {
        let template = model.template().ok_or(SftError::NoTemplate)?;
        Self::new(template, model.tokenizer(), config)
    }

    /// One example for each record. Those that were cut to [`SftConfig::max_length`]
    /// [say so](SftExample::is_cut); their number is also a warning in the log.
    ///
    /// # Errors
    ///
    /// The first record that cannot be encoded or has no target is named.
    pub fn encode(&self, records: &[Record]) -> Result<Vec<SftExample>, SftError> {
        let examples = records.iter().enumerate();
        let examples = examples.map(|(index, record)| self.encode_record(index, record));
        Ok(self.tell_of_cut(examples.collect::<Result<_, _>>()?))
    }

    /// The same for a mixture, in the groups `task` and `replay`.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_mixture(&self, mixture: &Mixture) -> Result<Vec<SftExample>, SftError> {
        let examples = mixture.rows().iter().enumerate();
        let examples = examples.map(|(index, (origin, record))| {
            let group = match origin {
                Origin::Task => "task",
                Origin::Replay => REPLAY,
            };
            Ok(self.encode_record(index, record)?.with_group(group))
        });
        Ok(self.tell_of_cut(examples.collect::<Result<_, _>>()?))
    }

    /// It is worth knowing before a long run.
    fn tell_of_cut(&self, examples: Vec<SftExample>) -> Vec<SftExample> {
        let (all, max_length) = (examples.len(), self.config.max_length);
        let num_cut = examples.iter().filter(|example| example.is_cut()).count();
        if num_cut > 0 {
            tracing::warn!(num_cut, all, max_length, "examples are cut to max_length");
        }
        examples
    }

    /// One record; `index` names it in errors.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_record(&self, index: usize, record: &Record) -> Result<SftExample, SftError> {
        let name = || {
            let id = record.id.clone();
            format!("example {}", ExampleName { index, id })
        };
        let tokens = TrainingTokens::from_messages(&record.messages, self.template, self.tokenizer)
            .map_err(|source| SftError::Encode {
                example: name(),
                source,
            })?;
        let example = self.cut(tokens, name)?;
        Ok(match &record.id {
            Some(id) => example.with_id(id),
            None => example,
        })
    }

    fn cut(
        &self,
        tokens: TrainingTokens,
        name: impl Fn() -> String,
    ) -> Result<SftExample, SftError> {
        let TrainingTokens {
            mut input_ids,
            mut is_target,
        } = tokens;
        if self.config.loss_scope == LossScope::WholeSequence {
            is_target.fill(true);
        }
        let num_tokens = input_ids.len();
        let first_target = is_target.iter().skip(1).position(|target| *target);
        let max_length = self.config.max_length;
        match first_target.map(|position| position + 1) {
            None => Err(SftError::NoTarget {
                example: name(),
                num_tokens,
            }),
            Some(first_target) if first_target >= max_length => Err(SftError::TargetCutOff {
                example: name(),
                first_target,
                max_length,
            }),
            Some(_) => {
                input_ids.truncate(max_length);
                is_target.truncate(max_length);
                let mut example = SftExample::new(input_ids, is_target)?;
                example.is_cut = num_tokens > max_length;
                Ok(example)
            }
        }
    }
}
