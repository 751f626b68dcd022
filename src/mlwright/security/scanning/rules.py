"""All reasons for which a file is refused, in one table."""

from mlwright.security.scanning.spec import Finding, Rule, Severity

_RESAVE = "save the model in a format without code: safetensors, ONNX, skops, or the library's own (XGBoost JSON)"
_SOURCE = "do not load it; ask where it comes from"
_REVOKE = "end it where it was issued, then save the model without it: whoever has the file has the secret"
_AGAIN = "the file is damaged or made to mislead: fetch it again from its source"
_TRUSTED = "load it only where you trust its author with everything that the process may do, or " + _RESAVE

RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule("pickle-global", Severity.CRITICAL, "A pickle names something that is not on the allow-list.", _SOURCE),
        Rule("pickle-code", Severity.CRITICAL, "A pickle carries code, such as a function by cloudpickle.", _TRUSTED),
        Rule("pickle-computed", Severity.CRITICAL, "A pickle computes what it imports or calls.", _SOURCE),
        Rule("pickle-mutation", Severity.CRITICAL, "A pickle changes something that it did not make.", _SOURCE),
        Rule("pickle-extension", Severity.HIGH, "A pickle uses the registry of extension codes.", _SOURCE),
        Rule("pickle-persistent", Severity.HIGH, "A pickle asks its loader for objects that no known format has.",
             _SOURCE),
        Rule("pickle-malformed", Severity.HIGH, "A pickle cannot be read to its end.", _AGAIN),
        Rule("pickle-trailing", Severity.HIGH, "After a pickle come bytes that are no pickle.", _AGAIN),
        Rule("pickle-limits", Severity.HIGH, "A pickle needs more memory than a scan may take.", _RESAVE),
        Rule("array-malformed", Severity.HIGH, "An array does not have the length that it announces.", _AGAIN),
        Rule("archive-malformed", Severity.HIGH, "An archive contradicts itself or is damaged.", _AGAIN),
        Rule("archive-encrypted", Severity.HIGH, "A part is encrypted, so that nobody can look into it.",
             "scan what is inside after decrypting it"),
        Rule("archive-opaque", Severity.HIGH, "A part is packed in a way that this scanner cannot open.",
             "unpack it and scan what comes out"),
        Rule("archive-path", Severity.HIGH, "A name in an archive leads out of the folder it is unpacked to.", _SOURCE),
        Rule("limit-expansion", Severity.HIGH, "Unpacked, it is too large for its packed size.", _SOURCE),
        Rule("limit-depth", Severity.HIGH, "Containers are nested too deeply.", "unpack it and scan what comes out"),
        Rule("limit-entries", Severity.HIGH, "A container has too many entries.", "scan an unpacked copy"),
        Rule("limit-time", Severity.HIGH, "Scanning takes longer than is allowed.", "scan it with a longer --timeout"),
        Rule("format-unknown", Severity.MEDIUM, "The content is in no format that is known to be harmless.", _RESAVE),
        Rule("format-malformed", Severity.MEDIUM, "The content breaks the rules of its own format.", _AGAIN),
        Rule("keras-code", Severity.CRITICAL, "A Keras model carries code, as Lambda layers do.", _TRUSTED),
        Rule("keras-foreign", Severity.CRITICAL, "A Keras model names something that is not part of Keras.", _SOURCE),
        Rule("skops-foreign", Severity.CRITICAL, "A skops file names something that is not on the allow-list.",
             _SOURCE),
        Rule("torchscript", Severity.CRITICAL, "A TorchScript archive is a program, not only weights.", _TRUSTED),
        Rule("gguf-template", Severity.CRITICAL, "A chat template reaches into Python.", _SOURCE),
        Rule("onnx-external", Severity.HIGH, "An ONNX model reads files from outside of its folder.", _SOURCE),
        Rule("mlflow-code", Severity.CRITICAL, "An MLflow model brings code that runs when it is loaded.", _TRUSTED),
        Rule("mlflow-outside", Severity.CRITICAL, "An MLflow model is loaded from outside of its folder.", _SOURCE),
        Rule("file-unreadable", Severity.HIGH, "It could not be looked into.", "make it readable, or leave it out"),
        Rule("secret-private-key", Severity.CRITICAL, "A private key lies in the file.", _REVOKE),
        Rule("secret-cloud-key", Severity.CRITICAL, "A key of a cloud provider lies in the file.", _REVOKE),
        Rule("secret-token", Severity.CRITICAL, "An access token lies in the file.", _REVOKE),
        Rule("secret-password", Severity.HIGH, "A password or key lies in the file.", _REVOKE),
        Rule("yaml-code", Severity.CRITICAL, "A YAML file makes Python objects when it is loaded.", _SOURCE),
    )
}  # fmt: skip


def finding(
    rule: str, message: str, *, member: str = "", offset: int = -1, opcodes: str = "", target: str = ""
) -> Finding:
    """A finding with the severity and the hint of its rule."""
    known = RULES[rule]
    return Finding(
        rule=rule,
        severity=known.severity,
        message=message,
        hint=known.hint,
        member=member,
        offset=offset,
        opcodes=opcodes,
        target=target,
    )
