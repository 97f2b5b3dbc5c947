"""PyTorch: tensors and the layers of `torch.nn`. `torch.storage._load_from_bytes` unpickles and stays out."""

from __future__ import annotations

_TYPES = "Double Float Half Long Int Short Char Byte Bool BFloat16 ComplexDouble ComplexFloat Untyped Typed"
_LAYERS = {
    "activation": (
        "CELU ELU GELU GLU Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish MultiheadAttention "
        "PReLU ReLU ReLU6 RReLU SELU Sigmoid SiLU Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh "
        "Tanhshrink Threshold"
    ),
    "batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d",
    "container": "ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d",
    "flatten": "Flatten Unflatten",
    "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "linear": "Bilinear Identity Linear NonDynamicallyQuantizableLinear",
    "normalization": "GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "pooling": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d AvgPool2d "
        "AvgPool3d MaxPool1d MaxPool2d MaxPool3d"
    ),
    "rnn": "GRU GRUCell LSTM LSTMCell RNN RNNCell",
    "sparse": "Embedding EmbeddingBag",
    "transformer": "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer",
}

CLASSES = {f"torch.nn.modules.{module}": names for module, names in _LAYERS.items()}
CALLS = {
    "torch._utils": "_rebuild_tensor_v2 _rebuild_parameter",
    "torch": "Size device",
}
NAMES = {
    "torch": (
        " ".join(f"{kind}Storage" for kind in _TYPES.split()) + " float16 float32 float64 bfloat16 int8 int16 int32 "
        "int64 uint8 bool complex64 complex128"
    ),
    "torch.storage": "UntypedStorage TypedStorage",
}
