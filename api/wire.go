package api

// Metadata keys of a signed call.
const (
	MetadataDevice    = "sealpost-device"
	MetadataTime      = "sealpost-time"
	MetadataNonce     = "sealpost-nonce-bin"
	MetadataSignature = "sealpost-signature-bin"
)

// ErrorDomain is the domain in the google.rpc.ErrorInfo of the relay's errors.
const ErrorDomain = "sealpost.v1"

// SubmitIDSize is the size of a submit id in bytes.
const SubmitIDSize = 16

// Default limits on payloads, in bytes. A relay may be set to others.
const (
	DefaultMaxMessage   = 64 << 10
	DefaultMaxHandshake = 4 << 20
)
