package mls

// confirmedTranscriptHash covers all commits up to the signature of this one
// (RFC 9420, Section 8.2).
func (s *suite) confirmedTranscriptHash(interim []byte, commit *authenticatedContent) []byte {
	b := commit.content.appendTo(appendUint16(nil, uint16(commit.wireFormat)))
	return s.hash(interim, appendVector(b, commit.auth.signature))
}

// interimTranscriptHash covers the confirmation tag as well.
func (s *suite) interimTranscriptHash(confirmed, confirmationTag []byte) []byte {
	return s.hash(confirmed, appendVector(nil, confirmationTag))
}
