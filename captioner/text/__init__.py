"""Text: vocabulary and tokenizer."""
