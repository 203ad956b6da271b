"""XLM-R with projection gives what diffusers' AltDiffusion reads, within 1e-5."""

import numpy as np
import paddle
import pytest

from sdbatch.errors import UserError
from sdbatch.models.config import UnsupportedConfig
from sdbatch.models.text import text_network
from sdbatch.models.text_config import TextShape, text_encoder_name
from sdbatch.text import TextOptions, TextOptionsError
from sdbatch.text.encoder import PromptEncoder
from sdbatch.weights.folder import layouts
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import paddle_form
from tests.conftest import relative_error
from tests.text.xlm import VARIANTS, config, encoder, record, recorded, weights, write_tokenizer

TOLERANCE = 1e-5
LENGTH = 12


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """By variant: `pre` reads the states before the last layer, `unmasked` the padding too."""
    given = write_tokenizer(tmp_path_factory.mktemp("xlm") / "tokenizer")
    return {variant: encoder(variant, given) for variant in VARIANTS}


def prompts(found, **options) -> PromptEncoder:
    return PromptEncoder([found], TextOptions(**options), sdxl=False)


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_are_those_of_diffusers_at_every_layer(encoders, variant):
    found = encoders[variant]
    for skip in range(found.layers + 1):
        read = prompts(found, clip_skip=skip)
        for i, text in enumerate(recorded("texts")):
            chunks = read.read(text).chunks
            states = read.encode([text], chunks).states[0].numpy().reshape(chunks, LENGTH, -1)
            for j in range(chunks):
                expected = record()[f"{variant}/{i}/{j}/{skip}"]
                assert relative_error(states[j], expected) < TOLERANCE, (text, skip, j)
            assert f"{variant}/{i}/{chunks}/0" not in record()


def test_texts_of_the_record_have_chunks_and_the_paddings_own_token(encoders):
    read = prompts(encoders["plain"])
    assert max(read.read(text).chunks for text in recorded("texts")) > 1
    assert any("<pad>" in text for text in recorded("texts"))


def test_the_padding_is_masked_where_the_config_says_so(encoders):
    plain, unmasked = (record()[f"{name}/1/0/0"] for name in ("plain", "unmasked"))
    assert relative_error(plain, unmasked) > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_are_read_each_by_itself(encoders, variant):
    ids = [record()[f"{variant}/{i}/0/ids"].tolist() for i in range(3)]
    with paddle.no_grad():
        together, pooled = encoders[variant].encode(ids)
        for row, states in zip(ids, together.numpy(), strict=True):
            alone = encoders[variant].encode([row])[0][0].numpy()
            assert relative_error(states, alone) < TOLERANCE
    assert pooled is None


def test_weights_scale_the_states_of_their_tokens(encoders):
    read = prompts(encoders["plain"], weighting=True)
    plain = read.encode(["红色的龙"], 1).states[0].numpy()
    found = read.encode(["(红色的龙:1.5)"], 1).states[0].numpy()
    end = 1 + read.read("红色的龙").tokens
    np.testing.assert_allclose(found[1:end], plain[1:end] * 1.5, rtol=1e-6)
    np.testing.assert_array_equal(found[[0, *range(end, LENGTH)]], plain[[0, *range(end, LENGTH)]])
    assert found.shape == (LENGTH, 16)


def test_words_that_are_cut_are_reported_as_they_were_written(encoders):
    read = prompts(encoders["plain"], max_chunks=1)
    text = "江南水乡ＡＢ在月光下，best quality，红色的 ㍿ 龙"
    found = read.read(text)
    assert found.truncated
    assert text.endswith(found.truncated)
    assert found.tokens > 10
    tokenizer = encoders["plain"].tokenizer
    assert found.tokens == len(tokenizer.ids(text))
    kept = text[: -len(found.truncated)]
    assert len(tokenizer.ids(kept)) <= tokenizer.room < found.tokens


def test_as_many_layers_can_be_skipped_as_there_are(encoders):
    assert {name: found.layers for name, found in encoders.items()} == {
        "plain": 3,
        "pre": 2,
        "unmasked": 3,
    }
    with pytest.raises(TextOptionsError, match="clip_skip=3: expected at most 2"):
        prompts(encoders["pre"], clip_skip=3)


def test_layer_norms_have_the_epsilon_of_the_config(encoders):
    network = build(lambda: text_network({**config("pre"), "layer_norm_eps": 1e-7}), "float32")
    norms = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.LayerNorm)]
    assert {norm._epsilon for norm in norms} == {1e-7}
    assert len(norms) == 1 + 2 * 3 + 1


class TestConfig:
    def test_sizes(self):
        assert TextShape.from_dict(config("plain")) == TextShape(
            width=16, width_key="project_dim", layers=3, positions=12, words=2002
        )
        assert TextShape.from_dict(config("pre")).layers == 2

    def test_names_for_records(self):
        assert text_encoder_name(config("plain")) == "xlm-roberta"
        assert text_encoder_name({"model_type": "xlm-roberta"}) == "xlm-roberta"
        assert text_encoder_name({"architectures": ["BertModel"]}) == "bert"
        assert text_encoder_name({"architectures": ["CLIPTextModelWithProjection"]}) == "clip"
        assert text_encoder_name({"architectures": ["T5EncoderModel"]}) == "T5EncoderModel"

    @pytest.mark.parametrize(
        ("key", "value"), [("position_embedding_type", "relative_key"), ("hidden_act", "relu")]
    )
    def test_what_is_not_implemented_is_refused(self, key, value):
        with pytest.raises(UnsupportedConfig, match=f"{key}='{value}': only"):
            TextShape.from_dict({**config("plain"), key: value})


class TestKeys:
    def filled(self, variant: str, tensors) -> None:
        raw = config(variant)
        network = build(lambda: text_network(raw), "float32")
        layout = layouts("text_encoder", raw)[0]
        fill(network, tensors.items(), layout, paddle_form.bert, source="here")

    def test_what_no_picture_needs_is_dropped_by_rule(self):
        """The pooler and the constants; in m18 the projection that nothing reads."""
        found = weights()
        assert {"roberta.pooler.dense.weight", "transformation.weight"} <= found.keys()
        more = {
            "roberta.embeddings.position_ids": np.arange(14)[None],
            "roberta.embeddings.token_type_ids": np.zeros((1, 14)),
            "logit_scale": np.zeros(()),
        }
        self.filled("pre", found | more)
        self.filled("plain", weights("transformation_pre.", "pre_LN.") | more)
        self.filled("plain", weights("transformation_pre.", "pre_LN.", "roberta.pooler."))
        self.filled("pre", weights("transformation."))

    @pytest.mark.parametrize(
        ("variant", "without", "missing"),
        [
            ("plain", "transformation.", "transformation.bias and 1 more"),
            ("pre", "transformation_pre.bias", "transformation_pre.bias"),
            ("pre", "pre_LN.", "pre_LN.bias and 1 more"),
            (
                "pre",
                "roberta.encoder.layer.2.output.dense.bias",
                "roberta.encoder.layers.2.linear2",
            ),
        ],
    )
    def test_a_missing_one_is_refused(self, variant, without, missing):
        others = () if variant == "pre" else ("transformation_pre.", "pre_LN.")
        with pytest.raises(UserError, match=f"missing key: {missing}"):
            self.filled(variant, weights(without, *others))

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(UserError, match=r"pre_LN\.bias: unexpected key"):
            self.filled("plain", weights("transformation_pre.", "pre_LN.weight"))
