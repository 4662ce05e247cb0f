package identity

import (
	"testing"
	"time"
)

func TestRequestBindsEveryField(t *testing.T) {
	key := GenerateDeviceKey()
	request := NewRequest(ServerIDOf([]byte("server")), "/sealpost.v1.Delivery/Connect", NewDeviceID(), time.Now())
	signature := request.Sign(key)
	if err := request.Verify(key.Public(), signature); err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(*Request){
		"server": func(r *Request) { r.Server[0] ^= 1 },
		"method": func(r *Request) { r.Method += "x" },
		"device": func(r *Request) { r.Device[15] ^= 1 },
		"time":   func(r *Request) { r.Time = r.Time.Add(time.Millisecond) },
		"nonce":  func(r *Request) { r.Nonce[0] ^= 1 },
	}
	for name, change := range changes {
		changed := request
		change(&changed)
		if changed.Verify(key.Public(), signature) == nil {
			t.Errorf("%s changed: accepted", name)
		}
	}
	if request.Verify(GenerateDeviceKey().Public(), signature) == nil {
		t.Error("another device's key: accepted")
	}
	for _, n := range []int{0, 1, 63} {
		if request.Verify(key.Public(), signature[:n]) == nil {
			t.Errorf("signature cut to %d bytes: accepted", n)
		}
	}
}

func TestParseServerID(t *testing.T) {
	id := ServerIDOf([]byte("server"))
	if got, err := ParseServerID(id.String()); err != nil || got != id {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "SHA256:", id.String()[:70], "sha256:" + id.String()[7:], id.String() + "0"} {
		if _, err := ParseServerID(s); err == nil {
			t.Errorf("%q: accepted", s)
		}
	}
}

func TestServerIDOfDomain(t *testing.T) {
	id := ServerIDOfDomain("chat.example.org")
	if ServerIDOfDomain("Chat.Example.ORG.") != id {
		t.Error("a name has two ids")
	}
	if ServerIDOfDomain("example.org") == id || ServerIDOf([]byte("chat.example.org")) == id {
		t.Error("two servers have one id")
	}
}
