"""The properties of a model as plain text: for model cards and reports."""

from __future__ import annotations

from captioner.inference.restore import LoadedModel
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.text.vocabulary import SPECIAL


def model_properties(loaded: LoadedModel, is_packaged: bool = False) -> dict[str, str]:
    """Describe a model by property. The encoder is untrusted text; the weights of a package are float16."""
    m, decode, model = loaded.config.model, loaded.config.decode, loaded.model
    dtype = f"float16, computed in {m.dtype}" if is_packaged else m.dtype
    how = f"beam search of width {decode.beam_width}" if decode.beam_width > 1 else "greedy decoding"
    how = how if decode.method == "beam" else f"sampling with temperature {decode.temperature:g}"
    parameters = f"{sum(w.size for w in model.params.values()):,}" if isinstance(model, CaptioningRNN) else ""
    is_standardized = isinstance(model, CaptioningRNN) and model.standardizer is not None
    return {
        "recurrent cell": f"{m.cell}, {m.hidden_dim:,} units",
        "word embedding": f"{m.wordvec_dim:,} dimensions",
        "image input": m.image_input,
        "attention": f"{m.attention}, keys of {m.attention_dim} dimensions" if model.attends else "none",
        "vocabulary": f"{len(loaded.vocab) - len(SPECIAL):,} words and {len(SPECIAL)} special tokens",
        "parameters": f"{parameters} ({dtype})",
        "image encoder": f"{loaded.meta.encoder} ({loaded.meta.feature_dim:,} dimensions)",
        "features": "standardized" if is_standardized else "not standardized",
        "decoding": how,
    }
