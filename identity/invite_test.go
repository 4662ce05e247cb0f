package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestInviteCodeText(t *testing.T) {
	code := NewInviteCode()
	text := code.Reveal()
	if !regexp.MustCompile(`^invite:([0-9a-hjkmnp-tv-z]{4}-){7}[0-9a-hjkmnp-tv-z]{4}$`).MatchString(text) {
		t.Fatalf("the text form is %q", text)
	}
	if !strings.HasPrefix(text, "invite:"+code.ID()+"-") {
		t.Errorf("the id of %q is %q", text, code.ID())
	}
	misread := strings.NewReplacer("1", "l", "0", "O").Replace(text)
	for _, typed := range []string{text, strings.ToUpper(text), strings.ReplaceAll(text, "-", ""), misread} {
		if got, err := ParseInviteCode(typed); err != nil || got != code {
			t.Errorf("%q is not read: %v", typed, err)
		}
	}
	for _, typed := range []string{
		"", "invite:", text[7:], text[:len(text)-1], text + "0", text[:len(text)-1] + "u",
		"id:" + text[7:], " " + text, text + "\n",
	} {
		if _, err := ParseInviteCode(typed); !errors.Is(err, ErrInviteCode) {
			t.Errorf("%q is read: %v", typed, err)
		}
	}
	if _, err := InviteCodeFromBytes(code[:19]); !errors.Is(err, ErrInviteCode) {
		t.Errorf("19 bytes are read: %v", err)
	}
}

func TestInviteCodeIsRedacted(t *testing.T) {
	code := NewInviteCode()
	secret := code.Reveal()[len("invite:0000-"):]
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if text := fmt.Sprintf(format, code); strings.Contains(text, secret) || !strings.Contains(text, code.ID()) {
			t.Errorf("%s shows %q", format, text)
		}
	}
	if text := code.LogValue().String(); strings.Contains(text, secret) {
		t.Errorf("the log shows %q", text)
	}
	if NewInviteCode() == code {
		t.Error("the same code again")
	}
}
