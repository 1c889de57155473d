use serde_json::{Value, json};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::processors::template::TemplateProcessing;

use super::chat_tokenizer::ChatTokenizer;
use crate::chat_template::ChatTemplate;

impl ChatTokenizer {
    /// `tokenizer.json` and `tokenizer_config.json` of this tokenizer, or what is wrong.
    pub(crate) fn hugging_face_files(
        &self,
        template: Option<&ChatTemplate>,
    ) -> Result<[(&'static str, String); 2], String> {
        let mut tokenizer = (*self.tokenizer).clone();
        if let Some((bos, id)) = self
            .bos_token()
            .zip(self.bos_id())
            .filter(|_| self.add_bos())
        {
            let processor = TemplateProcessing::builder()
                .try_single(vec![bos.to_owned(), "$A".to_owned()])
                .and_then(|builder| {
                    builder.try_pair(vec![bos.to_owned(), "$A".to_owned(), "$B:1".to_owned()])
                })?
                .special_tokens(vec![(bos.to_owned(), id)])
                .build()
                .map_err(|e| e.to_string())?;
            tokenizer.with_post_processor(Some(PostProcessorWrapper::from(processor)));
        }
        let json = tokenizer.to_string(false).map_err(|e| e.to_string())?;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": self.add_bos(),
            "clean_up_tokenization_spaces": false,
        });
        let pad = self.pad_id().and_then(|id| self.id_to_token(id));
        let texts = [
            ("bos_token", self.bos_token()),
            ("eos_token", self.eos_token()),
            ("pad_token", pad.as_deref()),
            ("chat_template", template.map(ChatTemplate::source)),
        ];
        if let Value::Object(fields) = &mut config {
            let there = texts
                .into_iter()
                .filter_map(|(name, text)| Some((name, text?)));
            fields.extend(there.map(|(name, text)| (name.to_owned(), text.into())));
        }
        Ok([
            ("tokenizer.json", json),
            ("tokenizer_config.json", format!("{config:#}\n")),
        ])
    }
}
