"""A conversion: the same weights and pictures, in a folder that PaddleNLP and Paddle read."""

import json
import shutil
from collections import Counter

import numpy as np
import paddle
import pytest
from paddle import nn
from paddlenlp.transformers import BertModel, CLIPTextModel, CLIPTextModelWithProjection
from safetensors.numpy import load_file, save_file

from sdbatch import __version__
from sdbatch.convert.record import Conversion
from sdbatch.convert.verify import verify
from sdbatch.convert.write import convert
from sdbatch.engine.device import Device
from sdbatch.engine.load import load_pipeline, text_network_of
from sdbatch.errors import UserError
from sdbatch.samplers import Sampler
from sdbatch.weights.checkpoint import file_sha256, read_json
from sdbatch.weights.files.paddle_file import open_paddle
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS
from tests.examples import a_request
from tests.weights.checkpoints import (
    DEMO,
    assert_equal,
    demo_networks,
    narrow_base,
    weights_of,
    write,
)
from tests.weights.original import original_tensors, random_networks

PADDLE_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
SOURCES = ("demo", "demo_zh", "sd1", "sd2", "sdxl")
TEXT = "text_encoder/model.safetensors"
NORM = "text_model.final_layer_norm.weight"  # of the demo: 128 numbers


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """`converted(name)`: a source, its options, the folder made of it, and the record.

    The sources are the bundled folders, and a single file of each family, 32 times narrower.
    """
    done = {}

    def call(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            source, options = ASSETS / name, SourceOptions()
            if not name.startswith("demo"):
                tensors = original_tensors(name, random_networks(name, shrink=32))
                source = write(folder / f"{name}.safetensors", tensors)
                options = SourceOptions(name, "v_prediction", base=narrow_base(name, folder))
            record = convert(open_checkpoint(source, options), folder / "new", options)
            done[name] = source, options, folder / "new", record
        return done[name]

    return call


@pytest.fixture
def again(tmp_path):
    """`again(source, dtype, **options)`: convert into a new folder."""

    def call(source, dtype=None, **options):
        options = SourceOptions(**options)
        target = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        return target, convert(open_checkpoint(source, options), target, options, dtype)

    return call


@pytest.fixture
def demo(tmp_path):
    """A copy of the demo, and `demo(**weights)`: with other weights in its text encoder."""

    def call(**weights):
        folder = shutil.copytree(DEMO, tmp_path / "copy")
        save_file(load_file(DEMO / TEXT) | weights, folder / TEXT)
        return folder

    return call


def load(folder, part) -> dict[str, paddle.Tensor]:
    return paddle.load(str(folder / part / "model_state.pdparams"))


def values(tensor: paddle.Tensor) -> np.ndarray:
    """As NumPy has them, but for bfloat16, which becomes float32."""
    return (tensor.astype("float32") if tensor.dtype == paddle.bfloat16 else tensor).numpy()


def is_linear(part: str, name: str, shape: tuple) -> bool:
    """By name: all matrices but for tables of embeddings and PaddleNLP's bare projection."""
    words = ("embedding.", "embeddings.", "text_projection")
    table = part.startswith("text") and any(word in name for word in words)
    return len(shape) == 2 and not table


class TestWeights:
    @pytest.mark.parametrize("name", SOURCES)
    def test_are_the_same_when_the_folder_is_opened(self, converted, name):
        source, options, folder, _ = converted(name)
        before, after = open_checkpoint(source, options), open_checkpoint(folder)
        assert_equal(weights_of(after), weights_of(before))
        assert (after.family, after.scheduler) == (before.family, before.scheduler)
        for one, other in zip(after.components, before.components, strict=True):
            stored = {"dtype", "torch_dtype"}  # PaddleNLP would load the weights as that
            assert one.config == {k: v for k, v in other.config.items() if k not in stored}

    @pytest.mark.parametrize("name", SOURCES)
    def test_are_read_by_paddle_with_linear_ones_in_out(self, converted, name):
        """Square ones too: what is linear is told by the layer, not by the shape."""
        source, options, folder, _ = converted(name)
        for part, expected in weights_of(open_checkpoint(source, options)).items():
            found = load(folder, part)
            assert found.keys() == expected.keys()
            square = 0
            for key, array in expected.items():
                linear = is_linear(part, key, array.shape)
                square += linear and array.shape[0] == array.shape[1]
                assert found[key].dtype == getattr(paddle, str(array.dtype))
                assert np.array_equal(found[key].numpy(), array.T if linear else array), key
            assert square > 1

    @pytest.mark.parametrize("name", ["demo", "demo_zh", "sd2", "sdxl"])
    def test_of_text_encoders_are_loaded_by_paddlenlp_itself(self, converted, name):
        _, _, folder, _ = converted(name)
        for component in open_checkpoint(folder).text_encoders:
            kinds = (CLIPTextModel, CLIPTextModelWithProjection, BertModel)
            kind = next(k for k in kinds if k.__name__ in component.config["architectures"])
            theirs = kind.from_pretrained(str(folder / component.name), dtype="float32")
            ours = text_network_of(component).load("float32")
            theirs.eval()
            for layer in theirs.sublayers():  # Paddle's own epsilon, whatever the config says
                if isinstance(layer, nn.LayerNorm):
                    layer._epsilon = component.config["layer_norm_eps"]
            ids = paddle.to_tensor([[3, 5, 2, 7, 2]])
            for found, expected in zip(theirs(ids)[:2], ours(ids)[:2], strict=True):
                assert np.array_equal(found.numpy(), expected.numpy())

    def test_of_a_single_file_and_of_its_folder_become_the_same(self, converted, again, tmp_path):
        tensors = original_tensors("demo", demo_networks())
        found, _ = again(write(tmp_path / "demo.ckpt", tensors), base=DEMO)
        _, _, expected, _ = converted("demo")
        for part in ("unet", "vae", "text_encoder"):
            one, other = load(found, part), load(expected, part)
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[k].numpy(), other[k].numpy()) for k in one)

    @pytest.mark.parametrize("name", SOURCES)
    def test_converted_once_more_are_the_same_bytes(self, converted, again, name):
        _, _, folder, _ = converted(name)
        twice, record = again(folder)
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "conversion.json":
                assert (twice / path.relative_to(folder)).read_bytes() == path.read_bytes()
        assert {r.done for records in record.networks.values() for r in records} == {"copied"}


@pytest.mark.parametrize("name", ["demo", "demo_zh"])
def test_pictures_are_the_same(converted, pipelines, name):
    """Value for value, at a few steps."""
    checkpoint = open_checkpoint(converted(name)[2])
    sampler = Sampler.from_config(checkpoint.scheduler)
    pipeline = load_pipeline(checkpoint, sampler, Device("cpu", "fp32"))
    requests = [a_request(steps=3, width=64, prompt=p) for p in ("a red star", "蓝色的圆")]
    found, expected = pipeline.generate(requests), pipelines(name).generate(requests)
    assert np.array_equal(np.asarray(found), np.asarray(expected))


class TestTypes:
    def test_are_kept_unless_asked_otherwise(self, again, demo, tmp_path):
        source = demo(**{NORM: np.ones(128, np.float32)})
        folder, record = again(source)
        found = {r.target: r.target_dtype for r in record.networks["text_encoder"]}
        assert Counter(found.values()) == {"F16": 35, "F32": 1}
        assert found["text_model.ln_final.weight"] == "F32"
        dtypes = {key: str(tensor.dtype) for key, tensor in load(folder, "text_encoder").items()}
        assert all(dtypes[key].endswith(PADDLE_TYPES[kind]) for key, kind in found.items())

    @pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
    def test_that_are_asked_for_are_everywhere(self, again, dtype):
        folder, record = again(DEMO, dtype)
        name = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}[dtype]
        for part, records in record.networks.items():
            assert {r.target_dtype for r in records} == {name}
            assert {t.dtype for t in load(folder, part).values()} == {
                getattr(paddle, PADDLE_TYPES[name])
            }
            assert all(("cast" in r.done) == (name != "F16") for r in records)
        assert verify(open_checkpoint(DEMO), folder, record, dtype) == 550

    @pytest.mark.parametrize(
        ("stored", "dtype", "given", "expected"),
        [
            # A tie goes to the even neighbour, down or up; then the nearest, the last finite one.
            (np.float32, "fp16", 1 + 2**-11, 1.0),
            (np.float32, "fp16", 1 + 3 * 2**-11, 1 + 2**-9),
            (np.float32, "fp16", -(1 + 2**-11 + 2**-20), -(1 + 2**-10)),
            (np.float32, "fp16", 65519.0, 65504.0),
            (np.float32, "bf16", 1 + 2**-8, 1.0),
            (np.float32, "bf16", 1 + 3 * 2**-8, 1 + 2**-6),
            (np.float32, "bf16", 65519.0, 65536.0),
            (np.float32, "fp16", np.inf, np.inf),
            (np.float32, "bf16", -np.inf, -np.inf),
            (np.float32, "fp16", 2**-24, 2**-24),
            (np.float64, None, 1 + 2**-24, 1.0),
            (np.float64, "fp32", 1 + 3 * 2**-24, 1 + 2**-22),
            (np.float64, "fp16", 1 + 2**-11 + 2**-40, 1 + 2**-10),
            (np.float16, "fp32", 2**-24, 2**-24),
            (np.float16, "bf16", 1 + 2**-10, 1.0),
        ],
    )
    def test_casts_give_the_nearest_value(self, again, demo, stored, dtype, given, expected):
        folder, _ = again(demo(**{NORM: np.full(128, given, stored)}), dtype)
        found = values(load(folder, "text_encoder")["text_model.ln_final.weight"])
        assert found.tolist() == [expected] * 128

    @pytest.mark.parametrize("dtype", [None, "fp16", "bf16"])
    def test_nan_stays_nan(self, again, demo, dtype):
        folder, _ = again(demo(**{NORM: np.full(128, np.nan, np.float32)}), dtype)
        assert np.isnan(values(load(folder, "text_encoder")["text_model.ln_final.weight"])).all()

    @pytest.mark.parametrize(
        ("stored", "dtype", "value", "name"),
        [
            (np.float32, "fp16", 65520.0, "F16"),
            (np.float32, "fp16", -1e30, "F16"),
            (np.float32, "bf16", np.finfo(np.float32).max, "BF16"),
            (np.float64, "bf16", 1e300, "BF16"),
            (np.float64, "fp32", 1e300, "F32"),
            (np.float64, None, -1e300, "F32"),
        ],
    )
    def test_a_value_that_is_too_large_is_refused_by_key_and_leaves_nothing(
        self, again, demo, tmp_path, stored, dtype, value, name
    ):
        weights = np.ones(128, stored)
        weights[7] = value
        source = demo(**{NORM: weights})
        with pytest.raises(UserError) as caught:
            again(source, dtype)
        assert str(caught.value) == (
            f"{source / 'text_encoder'}: {NORM}: values too large for {name} (1 of 128); choose "
            "another dtype"
        )
        assert list(tmp_path.iterdir()) == [source]


class TestRecord:
    """`conversion.json`."""

    def record(self, folder) -> dict:
        return read_json(folder / "conversion.json")

    @pytest.mark.parametrize("name", SOURCES)
    def test_has_every_key_of_the_source_once(self, converted, name):
        source, options, folder, _ = converted(name)
        record = self.record(folder)
        tensors = [t for part in record["networks"].values() for t in part["tensors"]]
        splits = Counter(t["source"] for t in tensors if "split" in t["done"])
        assert set(splits.values()) <= {3}
        keys = [t["source"] for t in tensors if "split" not in t["done"]]
        keys += [*splits, *(item["source"] for item in record["dropped"])]
        files = [path for c in open_checkpoint(source, options).components for path in c.files]
        expected = [key for path in {*files} for key in load_file(path)]
        assert Counter(keys) == Counter(expected)
        assert all(item["reason"] for item in record["dropped"])

    def test_says_what_was_done_to_each(self, converted):
        _, _, folder, _ = converted("sd2")
        networks = self.record(folder)["networks"]
        tensors = {t["target"]: t for part in networks.values() for t in part["tensors"]}
        q, norm, conv, attention = (
            tensors[name]
            for name in (
                "text_model.transformer.layers.3.self_attn.q_proj.weight",
                "text_model.ln_final.weight",
                "conv_in.weight",
                "decoder.mid_block.attentions.0.to_q.weight",
            )
        )
        assert q == {
            "source": "cond_stage_model.model.transformer.resblocks.3.attn.in_proj_weight",
            "target": "text_model.transformer.layers.3.self_attn.q_proj.weight",
            "source_dtype": "F32",
            "source_shape": [96, 32],
            "target_dtype": "F32",
            "target_shape": [32, 32],
            "done": "split, transposed",
        }
        assert (norm["done"], conv["done"]) == ("copied", "copied")
        assert attention["source_shape"] == [16, 16, 1, 1]
        assert (attention["target_shape"], attention["done"]) == ([16, 16], "reshaped, transposed")

    @pytest.mark.parametrize("name", SOURCES)
    def test_counts_are_those_of_the_files(self, converted, name):
        _, _, folder, _ = converted(name)
        for part, record in self.record(folder)["networks"].items():
            arrays = {k: values(t) for k, t in load(folder, part).items()}
            assert record["weights"] == len(record["tensors"]) == len(arrays)
            assert record["parameters"] == sum(array.size for array in arrays.values())
            assert record["bytes"] == sum(array.nbytes for array in arrays.values())
            assert sum(record["dtypes"].values()) == sum(record["done"].values()) == len(arrays)
            for tensor in record["tensors"]:
                assert tensor["target_shape"] == list(arrays[tensor["target"]].shape)

    def test_names_the_source_the_options_and_the_versions(self, converted):
        source, _, folder, _ = converted("sdxl")
        record = self.record(folder)
        assert record["format"] == 1
        assert record["source"]["path"] == str(source)
        assert record["source"]["files"] == [
            {"path": str(source), "bytes": source.stat().st_size, "sha256": file_sha256(source)}
        ]
        assert (record["family"], record["prediction"]) == ("sdxl", "v_prediction")
        assert record["evidence"][1] == "prediction v_prediction: asked for"
        assert record["options"]["family"] == "sdxl"
        assert record["options"]["base"].endswith("narrow_sdxl")
        assert record["versions"] == {"sdbatch": __version__, "paddle": paddle.__version__}

    def test_counts_averages_and_another_vae_as_well(self, again, tmp_path):
        """Each file's keys once: of the VAE's, what is not its weights is dropped."""
        networks = demo_networks()
        model = write(tmp_path / "model.ckpt", original_tensors("demo", networks))
        tensors = original_tensors("demo", {"vae": networks["vae"]}, extras=False)
        extra = {"loss.logvar": np.zeros(()), "model_ema.x": np.zeros(3)}
        vae = write(tmp_path / "vae.safetensors", {**tensors, **extra})
        folder, _ = again(model, ema=True, vae=vae, base=DEMO)
        record = self.record(folder)
        keys = Counter(t["source"] for part in record["networks"].values() for t in part["tensors"])
        keys += Counter(item["source"] for item in record["dropped"])
        expected = Counter([*original_tensors("demo", networks), *tensors, *extra])
        assert keys == expected
        assert [file["path"] for file in record["source"]["files"]] == [str(model), str(vae)]

    def test_names_that_are_not_unicode_are_written(self, again, demo, tmp_path):
        """Files with names from Windows, unpacked elsewhere."""
        source = demo().rename(tmp_path / b"\xc4\xa3\xd0\xcd".decode(errors="surrogateescape"))
        folder, _ = again(source)
        assert self.record(folder)["source"]["path"] == str(source)


class TestTheRest:
    @pytest.mark.parametrize("name", SOURCES)
    def test_the_folder_has_everything_and_no_more(self, converted, name):
        _, _, folder, _ = converted(name)
        texts = ("text_encoder", "text_encoder_2")[: 2 if name == "sdxl" else 1]
        expected = {"model_index.json", "conversion.json", "scheduler/scheduler_config.json"}
        for part in ("unet", "vae", *texts):
            expected |= {f"{part}/config.json", f"{part}/model_state.pdparams"}
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert expected == {path for path in found if not path.startswith("tokenizer")}
        index = read_json(folder / "model_index.json")
        assert {k for k, v in index.items() if isinstance(v, list) and v[0]} == {
            path.name for path in folder.iterdir() if path.is_dir()
        }
        assert [path.name for path in folder.parent.iterdir() if "partial" in path.name] == []

    @pytest.mark.parametrize("name", SOURCES)
    def test_tokenizers_are_copied_whole(self, converted, name):
        source, options, folder, _ = converted(name)
        for tokenizer in open_checkpoint(source, options).tokenizers:
            for file, path in tokenizer.files.items():
                assert (folder / tokenizer.folder.name / file).read_bytes() == path.read_bytes()

    def test_a_tokenizer_that_is_one_file_becomes_whole(self, again, demo):
        source = demo()
        texts = {name: (source / "tokenizer" / name).read_text() for name in ("vocab.json",)}
        merges = (source / "tokenizer" / "merges.txt").read_text().splitlines()[1:]
        for name in ("vocab.json", "merges.txt"):
            (source / "tokenizer" / name).unlink()
        model = {"type": "BPE", "vocab": json.loads(texts["vocab.json"]), "merges": merges}
        (source / "tokenizer" / "tokenizer.json").write_text(json.dumps({"model": model}))
        folder, _ = again(source)
        assert read_json(folder / "tokenizer" / "vocab.json") == model["vocab"]
        assert (folder / "tokenizer" / "merges.txt").read_text().splitlines()[1:] == merges
        assert (folder / "tokenizer" / "tokenizer.json").is_file()


class TestTarget:
    def test_an_empty_folder_is_used(self, tmp_path):
        (tmp_path / "new").mkdir()
        convert(open_checkpoint(DEMO), tmp_path / "new", SourceOptions())
        assert open_checkpoint(tmp_path / "new").family == "sd1"

    def test_folders_above_it_are_made(self, tmp_path):
        convert(open_checkpoint(DEMO), tmp_path / "a" / "b" / "new", SourceOptions())
        assert open_checkpoint(tmp_path / "a" / "b" / "new").family == "sd1"

    def test_a_link_to_an_empty_folder_is_followed(self, tmp_path):
        (tmp_path / "disk").mkdir()
        (tmp_path / "new").symlink_to("disk")
        convert(open_checkpoint(DEMO), tmp_path / "new", SourceOptions())
        assert (tmp_path / "new").is_symlink()
        assert open_checkpoint(tmp_path / "disk").family == "sd1"

    @pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
    def test_anything_else_is_refused_and_left_alone(self, tmp_path, kind):
        target = tmp_path / "new"
        if kind == "folder":
            target.mkdir()
            (target / "mine").write_text("x")
        elif kind == "file":
            target.write_text("x")
        else:
            target.symlink_to("nowhere")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match="new: exists already; expected a new or empty folder"):
            convert(open_checkpoint(DEMO), target, SourceOptions())
        assert sorted(tmp_path.rglob("*")) == before

    def test_what_somebody_else_put_there_meanwhile_is_left_alone(self, tmp_path, monkeypatch):
        other = tmp_path / "new" / "theirs"
        at_the_end = "sdbatch.convert.write._sync_folders"
        monkeypatch.setattr(at_the_end, lambda folder: other.mkdir(parents=True))
        with pytest.raises(UserError, match="new: exists already"):
            convert(open_checkpoint(DEMO), tmp_path / "new", SourceOptions())
        assert sorted(tmp_path.rglob("*")) == [tmp_path / "new", other]

    def test_a_mount_point_is_refused(self, tmp_path, monkeypatch):
        (tmp_path / "new").mkdir()
        monkeypatch.setattr("os.path.ismount", lambda path: True)
        with pytest.raises(UserError, match="new: is a mount point; expected a new folder"):
            convert(open_checkpoint(DEMO), tmp_path / "new", SourceOptions())

    @pytest.mark.parametrize("change", ["missing", "unexpected", "wrong shape", "vocabulary"])
    def test_a_source_that_is_refused_leaves_nothing(self, again, demo, tmp_path, change):
        source = demo()
        tensors = load_file(source / TEXT)
        if change == "missing":
            del tensors[NORM]
        elif change == "unexpected":
            tensors["extra"] = np.zeros(1)
        elif change == "wrong shape":
            tensors[NORM] = np.zeros(127)
        else:
            (source / "tokenizer" / "vocab.json").unlink()
        save_file(tensors, source / TEXT)
        with pytest.raises(UserError):
            again(source)
        assert list(tmp_path.iterdir()) == [source]

    def test_leftovers_of_the_dead_are_removed_and_no_others(self, tmp_path, monkeypatch):
        monkeypatch.setattr("socket.gethostname", lambda: "here")
        monkeypatch.setattr("os.getpid", lambda: 4_000_001)
        names = [
            ".new.here.4000000.partial",  # of a process that is gone
            ".new.here.4000001.partial",  # of one with our number, before a restart
            ".new.here.1.partial",  # of one that works
            ".new.there.4000000.partial",  # of another machine
            ".newer.here.4000000.partial",  # to another folder
            ".new.here.x.partial",
        ]
        for name in names:
            (tmp_path / name / "unet").mkdir(parents=True)
        convert(open_checkpoint(DEMO), tmp_path / "new", SourceOptions())
        assert {path.name for path in tmp_path.iterdir()} == {"new", *names[2:]}


class TestVerify:
    @pytest.fixture
    def done(self, again):
        folder, record = again(DEMO)
        return folder, record

    def check(self, done, dtype=None) -> int:
        return verify(open_checkpoint(DEMO), *done, dtype)

    def test_counts_what_is_equal(self, done):
        assert self.check(done) == 326 + 188 + 36

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
    def test_finds_a_bit_that_is_not(self, done, part):
        folder, record = done
        path = folder / part / "model_state.pdparams"
        weight = record.networks[part][3]
        content = bytearray(path.read_bytes())
        content[open_paddle(path).tensors[weight.target].start] ^= 1
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            self.check(done)
        assert str(caught.value) == f"{path}: {weight.target}: differs from {weight.source}"

    def test_finds_another_dtype(self, done):
        with pytest.raises(UserError, match="differs from"):
            self.check(done, "fp32")

    def test_finds_a_weight_that_is_not_there(self, done):
        folder, record = done
        fewer = {**record.networks, "vae": record.networks["vae"][1:]}
        changed = Conversion(**{**vars(record), "networks": fewer})
        with pytest.raises(UserError, match="does not hold the tensors that"):
            self.check((folder, changed))

    def test_finds_a_config_that_does_not_fit(self, done):
        folder, _ = done
        path = folder / "unet" / "config.json"
        path.write_text(json.dumps({**read_json(path), "block_out_channels": [48, 96, 192]}))
        with pytest.raises(UserError, match="expected shape"):
            self.check(done)
