"""A recorded program run by Paddle Inference, on the weights that a layer holds.

What each Paddle line gets wrong is kept in one place here, `_WRONG` and below; the parity
tests of `tests/engine/test_execution.py` fail without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import paddle
from paddle import Tensor
from paddle import inference as paddle_inference

from sdbatch.engine.options import PredictorOptions
from sdbatch.engine.tracing import input_name

IS_PADDLE_3 = not paddle.__version__.startswith("2.")

# Paddle 3.3: numbers are wrong with it (relative error 0.1 of a UNet with attention).
_WRONG = ("inplace_pass",)
# Paddle 3.3, bfloat16: "shape error" with any of them.
_FAILING_BF16 = (
    "operator_reshape_onednn_fuse_pass",
    "squeeze_transpose_onednn_fuse_pass",
    "operator_unsqueeze_onednn_fuse_pass",
)
# By default the eleventh set of input shapes in a process, whichever programs they belong to, makes
# oneDNN forget another's copies for good, and in the end corrupts the heap. How many predictors
# there are is decided in `execution.py`; a predictor that goes takes its copies along.
_SHAPES = 1 << 30


class Predictor:
    """One program, ready to run.

    Args:
        program: made by `tracing.trace`.
        weights: the tensors that the program reads besides its arguments; held, not copied.
        options: see there.
    """

    def __init__(self, program: Path, weights: Mapping[str, Tensor], options: PredictorOptions):
        self._predictor = paddle_inference.create_predictor(_config(program, options))
        self._names = self._predictor.get_input_names()
        self._weights = weights
        # Results stay on a GPU only by Paddle 3's `run`; on a CPU handles cost the least.
        self._by_list = options.device != "cpu" and IS_PADDLE_3
        self._handles = {name: self._predictor.get_input_handle(name) for name in self._names}
        for name in self._names:
            if name in weights:
                self._handles[name].share_external_data(weights[name])

    def run(self, arguments: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Run the program once.

        Args:
            arguments: by position, on the predictor's device.

        Returns:
            New tensors on that device.
        """
        given = {
            input_name(i): a.contiguous() for i, a in enumerate(arguments) if a is not None
        }  # held until the end: the predictor reads their memory
        if self._by_list:
            tensors = given | self._weights
            return tuple(self._predictor.run([tensors[name] for name in self._names]))
        for name in given.keys() & self._handles.keys():  # Paddle 2.6 leaves out what is unused
            self._handles[name].share_external_data(given[name])
        self._predictor.run()
        # The next run writes over the predictor's own.
        outputs = map(self._predictor.get_output_handle, self._predictor.get_output_names())
        return tuple(paddle.to_tensor(output.copy_to_cpu()) for output in outputs)


def _config(program: Path, options: PredictorOptions) -> paddle_inference.Config:
    if IS_PADDLE_3:
        config = paddle_inference.Config(str(program), str(program.with_suffix(".pdiparams")))
        config.enable_new_ir(True)
        config.enable_new_executor(True)  # before enable_memory_optim, which raises otherwise
        for name in _WRONG:
            config.delete_pass(name)
    else:
        config = paddle_inference.Config()
        text = program.read_bytes()
        config.set_model_buffer(text, len(text), b"", 0)
    config.disable_glog_info()
    for name in options.deleted_passes:
        config.delete_pass(name)
    if options.device == "cpu":
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_mkldnn_cache_capacity(_SHAPES)
        config.set_cpu_math_library_num_threads(options.threads)
        if options.bf16:
            config.enable_mkldnn_bfloat16()
            for name in _FAILING_BF16:
                config.delete_pass(name)
    else:
        _use_gpu(config, options, program.parent)
    config.switch_ir_optim(True)
    config.enable_memory_optim()
    return config


def _use_gpu(config: paddle_inference.Config, options: PredictorOptions, beside: Path) -> None:
    index = int(options.device.partition(":")[2] or 0)
    # The program is in the precision it runs in, so no pass has to lower it. 100 MB to begin with:
    # the pool grows.
    config.enable_use_gpu(100, index)
    if options.optimization_level is not None and IS_PADDLE_3:
        config.set_optimization_level(options.optimization_level)
    if options.tensorrt:
        config.enable_tensorrt_engine(
            workspace_size=1 << 30,
            max_batch_size=1,
            min_subgraph_size=3,
            precision_mode=paddle_inference.PrecisionType.Half,
            use_static=True,
            use_calib_mode=False,
        )
        config.set_optim_cache_dir(str(beside))  # where TensorRT keeps what it compiled
