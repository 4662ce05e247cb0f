package content

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func someIDs(n int) []MessageID {
	ids := make([]MessageID, n)
	for i := range ids {
		ids[i] = MessageID{hashSHA256, byte(i >> 8), byte(i)}
	}
	return ids
}

// The example of the draft is on four of the official examples.
func TestStatusReportExample(t *testing.T) {
	entries := []struct {
		name   string
		status Status
	}{{"original", StatusRead}, {"reply", StatusRead}, {"mention", StatusUnread}, {"expiring", StatusExpired}}
	want := []byte{0x84}
	var report StatusReport
	for _, entry := range entries {
		id := documentedID(t, entry.name)
		report = append(report, MessageStatus{id, entry.status})
		want = slices.Concat(want, []byte{0x82, 0x58, 0x20}, id[:], []byte{byte(entry.status)})
	}
	checkReport(t, report, want)
}

func TestStatusReportKeeps(t *testing.T) {
	id := "825820" + someID
	cases := map[string]struct {
		report StatusReport
		form   string
	}{
		"empty":         {StatusReport{}, "80"},
		"known":         {StatusReport{{messageIDOf(t), StatusError}}, "81" + id + "06"},
		"unknown":       {StatusReport{{messageIDOf(t), 255}}, "81" + id + "18ff"},
		"changing":      {StatusReport{{messageIDOf(t), 1}, {messageIDOf(t), 2}}, "82" + id + "01" + id + "02"},
		"most messages": {slices.Repeat(StatusReport{{messageIDOf(t), 1}}, MaxElements), "990400" + parts(MaxElements, id+"01")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { checkReport(t, c.report, unhex(c.form)) })
	}
}

func messageIDOf(t *testing.T) MessageID {
	id, err := ParseMessageID(someID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func checkReport(t *testing.T, report StatusReport, want []byte) {
	t.Helper()
	data, err := report.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, want) {
		t.Errorf("encoded to\n%x, want\n%x", data, want)
	}
	again, err := ParseStatusReport(want)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again, report) {
		t.Errorf("decoded to %v, want %v", again, report)
	}
}

func TestStatusReportRefuses(t *testing.T) {
	id := "5820" + someID
	for name, form := range map[string]string{
		"nothing":         "",
		"null":            "f6",
		"trailing byte":   "8000",
		"endless":         "9fff",
		"long header":     "9800",
		"map":             "a0",
		"id of 31":        "8182581f" + someID[:62] + "01",
		"id of zeros":     "81825820" + parts(32, "00") + "01",
		"id, other hash":  "8182582002" + someID[2:] + "01",
		"id null":         "8182f601",
		"no status":       "8181" + id,
		"three fields":    "8183" + id + "0100",
		"status 256":      "8182" + id + "190100",
		"status null":     "8182" + id + "f6",
		"status, long":    "8182" + id + "1801",
		"status tagged":   "8182" + id + "d82001",
		"entry null":      "81f6",
		"1025 messages":   "990401" + parts(1025, "82"+id+"01"),
		"fewer than said": "82" + "82" + id + "01",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseStatusReport(unhex(form)); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v, want ErrMalformed", err)
			}
		})
	}
	if _, err := make(StatusReport, 1).Marshal(); !errors.Is(err, ErrMalformed) {
		t.Errorf("report on no message: %v, want ErrMalformed", err)
	}
	if _, err := Receipt(StatusRead, someIDs(MaxElements+1)...); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many: %v, want ErrTooLarge", err)
	}
}
