"""Which tokenizer a folder has, told by its own files. Imports no Paddle."""

from __future__ import annotations

from sdbatch.weights.checkpoint import TokenizerFiles, read_json

CLIP_BPE, WORDPIECE, SENTENCEPIECE = "clip-bpe", "wordpiece", "sentencepiece"

SENTENCEPIECE_MODEL = "sentencepiece.bpe.model"
FILES = {
    SENTENCEPIECE: (SENTENCEPIECE_MODEL,),
    WORDPIECE: ("vocab.txt",),
    CLIP_BPE: ("vocab.json", "merges.txt"),
}
"""The vocabulary of each kind."""

_CLASSES = {
    "CLIPTokenizer": CLIP_BPE,
    "BertTokenizer": WORDPIECE,
    "XLMRobertaTokenizer": SENTENCEPIECE,
}
_MODELS = {"BPE": CLIP_BPE, "WordPiece": WORDPIECE, "Unigram": SENTENCEPIECE}
_OF_ENCODERS = {
    "BertModel": WORDPIECE,
    "RobertaSeriesModelWithTransformation": SENTENCEPIECE,
}


def tokenizer_kind(given: TokenizerFiles, encoder: str | None) -> str:
    """`clip-bpe`, `wordpiece` or `sentencepiece`.

    The class that `tokenizer_config.json` names decides, then the vocabulary that is there, then
    the text encoder that the tokenizer belongs to: any kind can go with any encoder.

    Args:
        given: the tokenizer's files.
        encoder: the text encoder's architecture.

    Raises:
        UserError: a file is not JSON.
    """
    config = given.files.get("tokenizer_config.json")
    named = read_json(config).get("tokenizer_class") if config else None
    kind = _CLASSES.get(str(named).removesuffix("Fast"))
    if kind:
        return kind
    for kind, names in FILES.items():
        if any(name in given.files for name in names):
            return kind
    return _said_by_model(given) or _OF_ENCODERS.get(encoder, CLIP_BPE)


def _said_by_model(given: TokenizerFiles) -> str | None:
    """By `tokenizer.json`, which names its method."""
    path = given.files.get("tokenizer.json")
    model = read_json(path).get("model") if path else None
    return _MODELS.get(model.get("type")) if isinstance(model, dict) else None
