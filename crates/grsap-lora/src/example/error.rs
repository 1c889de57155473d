use grsap_model::TrainingTokensError;

/// A record could not be turned into a training example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SftError {
    /// `max_length` leaves no room for a token and its successor.
    #[error("max_length: must be at least 2, got {max_length}")]
    MaxLength {
        /// The value.
        max_length: usize,
    },
    /// The model has no chat template to render messages with.
    #[error("the model has no chat template")]
    NoTemplate,
    /// `is_target` has another length than `input_ids`.
    #[error("is_target has {num_flags} entries, input_ids has {num_tokens}")]
    Lengths {
        /// Tokens.
        num_tokens: usize,
        /// Flags.
        num_flags: usize,
    },
    /// The loss would be over nothing.
    #[error("{example}: none of its {num_tokens} tokens is a target")]
    NoTarget {
        /// Index and, where there is one, id.
        example: String,
        /// Tokens.
        num_tokens: usize,
    },
    /// All that the assistant writes comes after the cut.
    #[error("{example}: the first target is token {first_target}, beyond max_length {max_length}")]
    TargetCutOff {
        /// Index and, where there is one, id.
        example: String,
        /// Position of the first target.
        first_target: usize,
        /// The limit.
        max_length: usize,
    },
    /// The chat could not be rendered or encoded.
    #[error("{example}: its messages cannot be encoded")]
    Encode {
        /// Index and, where there is one, id.
        example: String,
        /// The cause.
        #[source]
        source: TrainingTokensError,
    },
}
