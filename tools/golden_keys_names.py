"""The keys of original-layout checkpoints and their shapes, as rules, for golden_keys.py.

Written from the structure of CompVis' and Stability's networks, given by diffusers' configs. Keys
come without the prefix of their network.
"""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]

TIMESTEPS = 1000
# LatentDiffusion's buffers that are saved, one value a timestep.
SCHEDULE = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


def conv(name: str, out: int, into: int, kernel: int = 3) -> Shapes:
    """A convolution with a bias."""
    return {f"{name}.weight": (out, into, kernel, kernel), f"{name}.bias": (out,)}


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    """A linear layer."""
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(*names: str, width: int) -> Shapes:
    """Norms with a scale and a shift."""
    return {f"{name}.{leaf}": (width,) for name in names for leaf in ("weight", "bias")}


def unet(config: dict) -> Shapes:
    """The UNet: blocks are counted through, 0 being the first convolution."""
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else depths
    attends = ["CrossAttn" in kind for kind in config["down_block_types"]]
    assert attends == ["CrossAttn" in kind for kind in config["up_block_types"]][::-1]
    first = widths[0]
    embedded = 4 * first
    keys = linear("time_embed.0", embedded, first) | linear("time_embed.2", embedded, embedded)
    if config.get("addition_embed_type") == "text_time":
        given = config["projection_class_embeddings_input_dim"]
        keys |= linear("label_emb.0.0", embedded, given)
        keys |= linear("label_emb.0.2", embedded, embedded)
    keys |= conv("input_blocks.0.0", first, config["in_channels"])
    skips, now, block = [first], first, 1
    for level, width in enumerate(widths):
        for _ in range(layers):
            keys |= resnet(f"input_blocks.{block}.0", now, width, embedded)
            if attends[level]:
                keys |= transformer(f"input_blocks.{block}.1", width, depths[level], config)
            skips, now, block = [*skips, width], width, block + 1
        if level < len(widths) - 1:
            keys |= conv(f"input_blocks.{block}.0.op", width, width)
            skips, block = [*skips, width], block + 1
    keys |= resnet("middle_block.0", now, now, embedded)
    keys |= transformer("middle_block.1", now, depths[-1], config)
    keys |= resnet("middle_block.2", now, now, embedded)
    block = 0
    for level, width in reversed(list(enumerate(widths))):
        for layer in range(layers + 1):
            place = f"output_blocks.{block}"
            keys |= resnet(f"{place}.0", now + skips.pop(), width, embedded)
            if attends[level]:
                keys |= transformer(f"{place}.1", width, depths[level], config)
            if level > 0 and layer == layers:
                keys |= conv(f"{place}.{1 + attends[level]}.conv", width, width)
            now, block = width, block + 1
    return keys | norm("out.0", width=first) | conv("out.2", config["out_channels"], first)


def resnet(name: str, into: int, out: int, embedded: int) -> Shapes:
    """A residual block of the UNet."""
    keys = norm(f"{name}.in_layers.0", width=into) | conv(f"{name}.in_layers.2", out, into)
    keys |= linear(f"{name}.emb_layers.1", out, embedded)
    keys |= norm(f"{name}.out_layers.0", width=out) | conv(f"{name}.out_layers.3", out, out)
    return keys | (conv(f"{name}.skip_connection", out, into, 1) if into != out else {})


def transformer(name: str, width: int, depth: int, config: dict) -> Shapes:
    """A spatial transformer: projections are 1x1 convolutions in SD 1.x."""
    linear_projection = config.get("use_linear_projection", False)

    def projection(place: str) -> Shapes:
        return linear(place, width, width) if linear_projection else conv(place, width, width, 1)

    keys = norm(f"{name}.norm", width=width) | projection(f"{name}.proj_in")
    for place in (f"{name}.transformer_blocks.{i}" for i in range(depth)):
        for attention, read in (("attn1", width), ("attn2", config["cross_attention_dim"])):
            keys |= linear(f"{place}.{attention}.to_q", width, width, bias=False)
            keys |= linear(f"{place}.{attention}.to_k", width, read, bias=False)
            keys |= linear(f"{place}.{attention}.to_v", width, read, bias=False)
            keys |= linear(f"{place}.{attention}.to_out.0", width, width)
        keys |= linear(f"{place}.ff.net.0.proj", 8 * width, width)
        keys |= linear(f"{place}.ff.net.2", width, 4 * width)
        keys |= norm(*(f"{place}.norm{i}" for i in (1, 2, 3)), width=width)
    return keys | projection(f"{name}.proj_out")


def vae(config: dict) -> Shapes:
    """The autoencoder; its one attention is made of 1x1 convolutions."""
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    latent, last = config["latent_channels"], len(widths) - 1

    def block(name: str, into: int, out: int) -> Shapes:
        keys = norm(f"{name}.norm1", width=into) | conv(f"{name}.conv1", out, into)
        keys |= norm(f"{name}.norm2", width=out) | conv(f"{name}.conv2", out, out)
        return keys | (conv(f"{name}.nin_shortcut", out, into, 1) if into != out else {})

    def middle(name: str, width: int) -> Shapes:
        keys = block(f"{name}.block_1", width, width) | norm(f"{name}.attn_1.norm", width=width)
        for part in ("q", "k", "v", "proj_out"):
            keys |= conv(f"{name}.attn_1.{part}", width, width, 1)
        return keys | block(f"{name}.block_2", width, width)

    now = widths[0]
    keys = conv("encoder.conv_in", now, config["in_channels"])
    for level, width in enumerate(widths):
        for i in range(layers):
            keys |= block(f"encoder.down.{level}.block.{i}", now, width)
            now = width
        if level < last:
            keys |= conv(f"encoder.down.{level}.downsample.conv", width, width)
    keys |= middle("encoder.mid", now) | norm("encoder.norm_out", width=now)
    keys |= conv("encoder.conv_out", 2 * latent, now)
    keys |= conv("decoder.conv_in", now, latent) | middle("decoder.mid", now)
    for level, width in reversed(list(enumerate(widths))):
        for i in range(layers + 1):
            keys |= block(f"decoder.up.{level}.block.{i}", now, width)
            now = width
        if level > 0:
            keys |= conv(f"decoder.up.{level}.upsample.conv", width, width)
    keys |= norm("decoder.norm_out", width=now) | conv("decoder.conv_out", 3, now)
    return (
        keys
        | conv("quant_conv", 2 * latent, 2 * latent, 1)
        | conv("post_quant_conv", latent, latent, 1)
    )


def clip(config: dict) -> Shapes:
    """OpenAI's CLIP as transformers 4 saved it."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    rows = config["max_position_embeddings"]
    keys = {
        "embeddings.position_ids": (1, rows),
        "embeddings.token_embedding.weight": (config["vocab_size"], width),
        "embeddings.position_embedding.weight": (rows, width),
    }
    for place in (f"encoder.layers.{i}" for i in range(config["num_hidden_layers"])):
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            keys |= linear(f"{place}.self_attn.{part}", width, width)
        keys |= norm(f"{place}.layer_norm1", width=width)
        keys |= linear(f"{place}.mlp.fc1", inner, width) | linear(f"{place}.mlp.fc2", width, inner)
        keys |= norm(f"{place}.layer_norm2", width=width)
    keys |= norm("final_layer_norm", width=width)
    return {f"text_model.{key}": shape for key, shape in keys.items()}


def open_clip(config: dict, layers: int) -> Shapes:
    """OpenCLIP's text tower."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    keys = {
        "positional_embedding": (config["max_position_embeddings"], width),
        "text_projection": (width, width),
        "logit_scale": (),
    }
    for place in (f"transformer.resblocks.{i}" for i in range(layers)):
        keys |= norm(f"{place}.ln_1", width=width)
        keys |= {f"{place}.attn.in_proj_weight": (3 * width, width)}
        keys |= {f"{place}.attn.in_proj_bias": (3 * width,)}
        keys |= linear(f"{place}.attn.out_proj", width, width) | norm(f"{place}.ln_2", width=width)
        keys |= linear(f"{place}.mlp.c_fc", inner, width)
        keys |= linear(f"{place}.mlp.c_proj", width, inner)
    keys |= {"token_embedding.weight": (config["vocab_size"], width)}
    return keys | norm("ln_final", width=width)
