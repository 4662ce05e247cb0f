package messenger

import (
	"testing"

	"sealpost/api"
)

// While a submit is on its way, accepting another key takes its entry out of the
// outbox; the answer to it then changes nothing.
func TestAnswerToWhatLeftTheOutbox(t *testing.T) {
	alice := newPerson(t, newFakeRelay(t), "alice", TrustTOFU)
	s := &session{Client: alice.Client}
	for _, reason := range []api.Reason{api.Reason_REASON_MAILBOX_FULL, api.Reason_REASON_TOO_LARGE} {
		if err := s.rejected(testContext(t), &api.Rejected{Id: make([]byte, api.SubmitIDSize), Reason: reason, RetryAfterMs: 1}); err != nil {
			t.Errorf("%v: %v", reason, err)
		}
	}
}
