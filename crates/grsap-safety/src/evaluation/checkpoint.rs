/// A checkpoint of a training run, to be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingCheckpoint {
    /// Its name, such as that of its folder.
    pub name: String,
    /// Examples that it has seen, each as often as it was seen; 0 is the start.
    pub num_examples: usize,
}

impl TrainingCheckpoint {
    /// The checkpoint `name` after `num_examples`.
    pub fn new(name: impl Into<String>, num_examples: usize) -> Self {
        Self {
            name: name.into(),
            num_examples,
        }
    }
}
