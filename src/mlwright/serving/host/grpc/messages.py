"""Messages of the Open Inference Protocol over gRPC, made from the numbers of their fields.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto, the
repository: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/
extension_model_repository.html, health: https://github.com/grpc/grpc/blob/master/doc/health-checking.md

On the wire there are only numbers, so messages that the specification nests in others stand beside them here. The two
known clients disagree about loading: the name is field 2 of Triton's message and field 1 of KServe's; both are read.
"""

from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from mlwright.kernel.errors import Invalid

_PACKAGE = "inference"
#: A field: its number, its type, its name; `repeated`, `map` (from texts) or `choice` (one of several) before the type.
_MESSAGES: dict[str, tuple[str, ...]] = {
    "Empty": (),
    "ServerLiveResponse": ("1 bool live",),
    "ServerReadyResponse": ("1 bool ready",),
    "ModelReadyRequest": ("1 string name", "2 string version"),
    "ModelReadyResponse": ("1 bool ready",),
    "ServerMetadataResponse": ("1 string name", "2 string version", "3 repeated string extensions"),
    "ModelMetadataRequest": ("1 string name", "2 string version"),
    "TensorMetadata": ("1 string name", "2 string datatype", "3 repeated int64 shape"),
    "ModelMetadataResponse": (
        "1 string name",
        "2 repeated string versions",
        "3 string platform",
        "4 repeated TensorMetadata inputs",
        "5 repeated TensorMetadata outputs",
    ),
    "InferParameter": (
        "1 choice bool bool_param",
        "2 choice int64 int64_param",
        "3 choice string string_param",
        "4 choice double double_param",
        "5 choice uint64 uint64_param",
    ),
    "InferTensorContents": (
        "1 repeated bool bool_contents",
        "2 repeated int32 int_contents",
        "3 repeated int64 int64_contents",
        "4 repeated uint32 uint_contents",
        "5 repeated uint64 uint64_contents",
        "6 repeated float fp32_contents",
        "7 repeated double fp64_contents",
        "8 repeated bytes bytes_contents",
    ),
    "InferTensor": (
        "1 string name",
        "2 string datatype",
        "3 repeated int64 shape",
        "4 map InferParameter parameters",
        "5 InferTensorContents contents",
    ),
    "InferRequestedOutputTensor": ("1 string name", "2 map InferParameter parameters"),
    "ModelInferRequest": (
        "1 string model_name",
        "2 string model_version",
        "3 string id",
        "4 map InferParameter parameters",
        "5 repeated InferTensor inputs",
        "6 repeated InferRequestedOutputTensor outputs",
        "7 repeated bytes raw_input_contents",
    ),
    "ModelInferResponse": (
        "1 string model_name",
        "2 string model_version",
        "3 string id",
        "4 map InferParameter parameters",
        "5 repeated InferTensor outputs",
        "6 repeated bytes raw_output_contents",
    ),
    "RepositoryIndexRequest": ("1 string repository_name", "2 bool ready"),
    "ModelIndex": ("1 string name", "2 string version", "3 string state", "4 string reason"),
    "RepositoryIndexResponse": ("1 repeated ModelIndex models",),
    "RepositoryModelRequest": (
        "1 string repository_name",
        "2 string model_name",
        "3 map InferParameter parameters",
    ),
    "RepositoryModelResponse": ("1 string model_name", "2 bool done"),
    "HealthCheckRequest": ("1 string service",),
    "HealthCheckResponse": ("1 int32 status",),
}
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
}


class _Kind(NamedTuple):
    """A kind of message."""

    new: Any

    def read(self, data: bytes) -> Any:
        """Raises Invalid."""
        try:
            return self.new.FromString(data)
        except DecodeError as error:
            raise Invalid(f"the message cannot be read: {error}", path="body") from None

    def write(self, **fields: Any) -> bytes:
        """The message with these fields, as bytes."""
        data: bytes = self.new(**fields).SerializeToString()
        return data


def _described() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="mlwright/open_inference.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add(message, *field.split())
    return file


def _add(message: Any, number: str, *words: str) -> None:
    *labels, kind, name = words
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if "map" in labels:
        _add_map(message, kind, name)
        kind = f"{message.name}.{_entry(name)}"
    if "map" in labels or "repeated" in labels:
        field.label = _Field.LABEL_REPEATED
    if "choice" in labels:
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _add_map(message: Any, kind: str, name: str) -> None:
    entry = message.nested_type.add(name=_entry(name))
    entry.options.map_entry = True
    _add(entry, "1", "string", "key")
    _add(entry, "2", kind, "value")


def _entry(name: str) -> str:
    return f"{name.capitalize()}Entry"


def _kinds() -> dict[str, _Kind]:
    pool = descriptor_pool.DescriptorPool()  # one of its own: clients in the same process know the same names
    pool.Add(_described())
    return {
        name: _Kind(message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")))
        for name in _MESSAGES
    }


KINDS = _kinds()
