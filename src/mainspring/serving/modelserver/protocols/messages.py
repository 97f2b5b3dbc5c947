"""The messages of the Open Inference Protocol over gRPC, made from a table of their field numbers.

The numbers are those of the protocol (and, for the repository, of its usual extension, with what KServe answers). Made
here rather than compiled, they need no version of a compiler to fit that of the protobuf package, and live in a pool of
their own: another package's copy in the same process is not in the way.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
METHODS = {
    "ServerLive": ("ServerLiveRequest", "ServerLiveResponse"),
    "ServerReady": ("ServerReadyRequest", "ServerReadyResponse"),
    "ModelReady": ("ModelReadyRequest", "ModelReadyResponse"),
    "ServerMetadata": ("ServerMetadataRequest", "ServerMetadataResponse"),
    "ModelMetadata": ("ModelMetadataRequest", "ModelMetadataResponse"),
    "ModelInfer": ("ModelInferRequest", "ModelInferResponse"),
    "RepositoryIndex": ("RepositoryIndexRequest", "RepositoryIndexResponse"),
    "RepositoryModelLoad": ("RepositoryModelLoadRequest", "RepositoryModelLoadResponse"),
    "RepositoryModelUnload": ("RepositoryModelUnloadRequest", "RepositoryModelUnloadResponse"),
}
"""Methods of the service with the names of what they take and give."""
# A line for each message: its name, then "field number type": * is repeated, {} a map from text, ? one of a choice.
_TABLE = """
ServerLiveRequest
ServerLiveResponse live 1 bool
ServerReadyRequest
ServerReadyResponse ready 1 bool
ModelReadyRequest name 1 string, version 2 string
ModelReadyResponse ready 1 bool
ServerMetadataRequest
ServerMetadataResponse name 1 string, version 2 string, extensions 3 *string
ModelMetadataRequest name 1 string, version 2 string
ModelMetadataResponse name 1 string, versions 2 *string, platform 3 string, inputs 4 *.TensorMetadata, outputs 5 *.TensorMetadata
ModelMetadataResponse.TensorMetadata name 1 string, datatype 2 string, shape 3 *int64
InferParameter bool_param 1 ?bool, int64_param 2 ?int64, string_param 3 ?string, double_param 4 ?double, uint64_param 5 ?uint64
InferTensorContents bool_contents 1 *bool, int_contents 2 *int32, int64_contents 3 *int64, uint_contents 4 *uint32, uint64_contents 5 *uint64, fp32_contents 6 *float, fp64_contents 7 *double, bytes_contents 8 *bytes
ModelInferRequest model_name 1 string, model_version 2 string, id 3 string, parameters 4 {}InferParameter, inputs 5 *.InferInputTensor, outputs 6 *.InferRequestedOutputTensor, raw_input_contents 7 *bytes
ModelInferRequest.InferInputTensor name 1 string, datatype 2 string, shape 3 *int64, parameters 4 {}InferParameter, contents 5 InferTensorContents
ModelInferRequest.InferRequestedOutputTensor name 1 string, parameters 2 {}InferParameter
ModelInferResponse model_name 1 string, model_version 2 string, id 3 string, parameters 4 {}InferParameter, outputs 5 *.InferOutputTensor, raw_output_contents 6 *bytes
ModelInferResponse.InferOutputTensor name 1 string, datatype 2 string, shape 3 *int64, parameters 4 {}InferParameter, contents 5 InferTensorContents
RepositoryIndexRequest repository_name 1 string, ready 2 bool
RepositoryIndexResponse models 1 *.ModelIndex
RepositoryIndexResponse.ModelIndex name 1 string, version 2 string, state 3 string, reason 4 string
RepositoryModelLoadRequest repository_name 1 string, model_name 2 string
RepositoryModelLoadResponse model_name 1 string, isLoaded 2 bool
RepositoryModelUnloadRequest repository_name 1 string, model_name 2 string
RepositoryModelUnloadResponse
"""  # noqa: E501 - one line a message
_CHOICE = "parameter_choice"


@cache
def pool() -> DescriptorPool:
    """Where the messages are described; server reflection reads it too."""
    from google.protobuf.descriptor_pool import DescriptorPool

    found = DescriptorPool()
    found.Add(schema())
    return found


@cache
def message(name: str) -> type[Message]:
    """The class of a message.

    >>> message("ServerLiveResponse")(live=True).SerializeToString()
    b'\\x08\\x01'
    """
    from google.protobuf.message_factory import GetMessageClass

    found: type[Message] = GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))
    return found


def schema() -> FileDescriptorProto:
    """The whole table as protobuf describes files."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    made = FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    for line in _TABLE.strip().splitlines():
        name, _, fields = line.partition(" ")
        outer, _, inner = name.partition(".")
        if inner:
            within = next(entry for entry in made.message_type if entry.name == outer)
            _describe(within.nested_type.add(name=inner), name, fields)
        else:
            _describe(made.message_type.add(name=outer), name, fields)
    service = made.service.add(name=SERVICE.partition(".")[2])
    for method, (takes, gives) in METHODS.items():
        service.method.add(name=method, input_type=f".{PACKAGE}.{takes}", output_type=f".{PACKAGE}.{gives}")
    return made


def _describe(entry: DescriptorProto, name: str, fields: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    for text in filter(None, fields.split(", ")):
        label, number, kind = text.split(" ")
        field = entry.field.add(name=label, number=int(number))
        field.label = Field.LABEL_REPEATED if kind[0] in "*{" else Field.LABEL_OPTIONAL
        if kind[0] == "?":
            if not entry.oneof_decl:
                entry.oneof_decl.add(name=_CHOICE)
            field.oneof_index = 0
        bare = kind.lstrip("*?{}")
        if kind.startswith("{}"):
            pair = entry.nested_type.add(name=f"{label.title()}Entry")
            pair.options.map_entry = True
            _describe(pair, f"{name}.{pair.name}", f"key 1 string, value 2 {bare}")
            bare = f".{pair.name}"
        if bare[0] == ".":
            field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{name}{bare}"
        elif bare[0].isupper():
            field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{bare}"
        else:
            field.type = Field.Type.Value(f"TYPE_{bare.upper()}")
